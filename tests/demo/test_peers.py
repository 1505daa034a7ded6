"""The tests against Pipecat and LiveKit, each with that framework's packages before our own.

Pipecat takes older versions of three packages than ours, and each of the two brings 20 to 30 that nobody else
here needs. So they are installed into folders (`.peers/`, 270 and 120 MB, ten seconds each), once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PEERS = HERE.parents[1] / ".peers"
OFFLINE = re.compile(r"new connection|name resolution|failed to resolve|unreachable|timed out", re.I)


def packages(peer: str) -> Path:
    """The folder with the packages of `peer`.txt; skips where there is no network to get them by."""
    folder, part = PEERS / peer, PEERS / f"{peer}.part"
    wanted = f"{sys.version}\n{(HERE / f'{peer}.txt').read_text()}"
    made = folder / "made_for.txt"
    if made.exists() and made.read_text() == wanted:
        return folder
    for old in (folder, part):
        shutil.rmtree(old, ignore_errors=True)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--retries=1"]
    done = subprocess.run(
        [*install, f"--target={part}", f"--requirement={HERE / f'{peer}.txt'}"],
        capture_output=True,
        text=True,
    )
    if done.returncode and OFFLINE.search(done.stderr):
        pytest.skip(f"{peer} cannot be fetched: there is no network")
    assert done.returncode == 0, done.stderr
    (part / made.name).write_text(wanted)
    part.rename(folder)
    return folder


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("peer", "tests"), [("pipecat", "test_pipecat_service.py"), ("livekit", "test_livekit_plugin.py")]
)
def test_with_the_real_packages(peer: str, tests: str) -> None:
    path = os.pathsep.join([str(packages(peer)), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(HERE / tests),
    ]
    ran = subprocess.run(
        command, cwd=HERE.parents[1], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    assert re.search(r"^\d+ passed in", ran.stdout, re.M), ran.stdout[-2000:]
