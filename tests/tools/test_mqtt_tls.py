"""A broker that encrypts: reached with its authority's certificate, and not without."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import trustme
from stretto.tools.mqtt import BrokerConnection, BrokerOptions, Message

LONG_S = 60.0


@pytest.fixture
def encrypted(mosquitto: Any, tmp_path: Path) -> tuple[str, Path]:
    """The URL of a broker that encrypts, and the file with the certificate of who signed for it."""
    authority = trustme.CA()
    signed = authority.issue_cert("127.0.0.1")
    trusted, chain, key = (tmp_path / f"{name}.pem" for name in ("trusted", "chain", "key"))
    authority.cert_pem.write_to_path(trusted)
    signed.private_key_pem.write_to_path(key)
    for part in signed.cert_chain_pems:
        part.write_to_path(chain, append=True)
    mosquitto.kill()
    mosquitto.start("allow_anonymous true", f"certfile {chain}", f"keyfile {key}")
    return mosquitto.url.replace("mqtt://", "mqtts://"), trusted


def test_what_is_sent_encrypted_arrives(encrypted: tuple[str, Path]) -> None:
    url, trusted = encrypted

    async def work() -> None:
        heard: asyncio.Queue[Message] = asyncio.Queue()
        async with asyncio.timeout(LONG_S), BrokerConnection(BrokerOptions(url, ca_file=trusted)) as broker:
            broker.subscribe("door/front", heard.put_nowait)
            await broker.flushed()
            broker.send(Message("door/front", b"open"))
            assert (await heard.get()).payload == b"open"

    asyncio.run(work())


@pytest.mark.parametrize(
    ("name", "known", "told"),
    [("127.0.0.1", False, "certificate verify failed"), ("localhost", True, "not valid for 'localhost'")],
)
def test_who_cannot_be_trusted_is_told_nothing(
    encrypted: tuple[str, Path], name: str, known: bool, told: str
) -> None:
    """Signed by somebody unknown; or for another name."""
    url, trusted = encrypted
    options = BrokerOptions(url.replace("127.0.0.1", name), ca_file=trusted if known else None)

    async def work() -> None:
        async with asyncio.timeout(LONG_S), BrokerConnection(options) as broker:
            broker.send(Message("door/front", b"open"))
            while told not in (broker.problem or ""):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert broker.connections == 0

    asyncio.run(work())


def test_a_file_of_certificates_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.pem"):
        BrokerOptions("mqtts://127.0.0.1", ca_file=tmp_path / "none.pem")
