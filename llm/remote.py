"""A language model behind a URL: any server of OpenAI's chat completions holds the conversations."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from openai import APIStatusError, AsyncOpenAI, OpenAIError, Timeout
from stretto.llm.breaker import Breaker
from stretto.llm.completion import RemoteError, RemoteUnavailable, Server
from stretto.llm.language_model import AUTO, Effort, ToolChoice, ToolSpec
from stretto.llm.remote_conversation import RemoteConversation

__all__ = ["EFFORTS", "RemoteError", "RemoteModel", "RemoteOptions", "RemoteUnavailable", "remote"]

KEY_VARIABLE = "STRETTO_MODEL_KEY"
EFFORTS: dict[str, dict[Effort, str]] = {
    "openai": {"minimal": "minimal", "low": "low", "medium": "medium", "high": "high"},
    "mercury": {"minimal": "instant", "low": "low", "medium": "medium", "high": "high"},
}
"""Names that servers give our efforts in `reasoning_effort`."""
NAME_S = 2.0
"""Seconds that a server has for telling its models."""


@dataclass(frozen=True)
class RemoteOptions:
    """How a server is asked.

    `efforts`: what to send as `reasoning_effort` for each of ours (see `EFFORTS`); None sends nothing, for
    many servers refuse fields that they do not know. `diffusing`: ask for the canvases of a diffusion model
    as Mercury sends them (chunks that replace the text so far). `extra`: more fields of the request
    (`temperature`, `max_tokens`, ...).
    Seconds: `connect_s` for a connection, `first_chunk_s` until an answer begins, `draft_s` for a whole draft
    with all second tries; `retries` of them after errors that may pass, the first after about `retry_s`.
    `characters` and `exchanges` of the dialogue that are sent at most. Raises ValueError.
    """

    efforts: Mapping[Effort, str] | None = None
    diffusing: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    connect_s: float = 3.0
    first_chunk_s: float = 6.0
    draft_s: float = 12.0
    retries: int = 2
    retry_s: float = 0.25
    characters: int = 24_000
    exchanges: int = 40

    def __post_init__(self) -> None:
        for name in ("connect_s", "first_chunk_s", "draft_s", "retry_s", "characters", "exchanges"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, is {getattr(self, name)}")
        if self.retries < 0:
            raise ValueError(f"retries must be 0 or more, is {self.retries}")


def remote(
    url: str, *, key: str | None = None, options: RemoteOptions | None = None, breaker: Breaker | None = None
) -> RemoteModel:
    """The model that a URL of a command line names.

    `http(s)://host[:port][/path][?settings][#name]`. Without a path it is `/v1`; `name` is the model's
    (default: the first that the server offers). Settings, which win over `options`: `model=name` as well,
    `effort=openai` or `effort=mercury` (send our effort in those words), `diffusing=true`.
    `key`: default the variable STRETTO_MODEL_KEY, else "none". Raises ValueError.
    """
    try:
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            raise ValueError(f"a URL is written to logs: put the key into {KEY_VARIABLE} instead of it")
        known = parts.scheme in ("http", "https") and parts.hostname and not re.search(r"\s", url)
        known = known and parts.port != 0
    except ValueError as error:
        raise ValueError(f"the URL of the model server cannot be used: {error}") from error
    if not known:
        raise ValueError(f"{url!r} is no URL of a model server: write http://host:port/v1#model-name")
    settings = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    if unknown := settings.keys() - {"model", "effort", "diffusing"}:
        raise ValueError(f"{', '.join(sorted(unknown))} is no setting: use model, effort or diffusing")
    names = {name for name in (settings.get("model"), unquote(parts.fragment)) if name}
    if len(names) > 1:
        raise ValueError(f"the URL names two models, {' and '.join(sorted(names))}: name one")
    changes: dict[str, Any] = {}
    if (effort := settings.get("effort")) is not None:
        if effort not in EFFORTS:
            raise ValueError(f"effort={effort}: use {' or '.join(EFFORTS)}")
        changes["efforts"] = EFFORTS[effort]
    if (diffusing := settings.get("diffusing")) is not None:
        if diffusing not in ("true", "false"):
            raise ValueError(f"diffusing={diffusing}: use true or false")
        changes["diffusing"] = diffusing == "true"
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    options = replace(options or RemoteOptions(), **changes)
    address = f"{parts.scheme}://{parts.netloc}{path}"
    return RemoteModel(address, names.pop() if names else None, key=key, options=options, breaker=breaker)


class RemoteModel:
    """A server that writes turns: Mercury, SGLang or vLLM with a diffusion model, or any other.

    Its conversations share connections and breaker. A model belongs to one event loop at a time; in another
    one it connects anew. What the grammar guarantees for the local model is checked here: a wrong call is
    asked for once more, then the draft fails.

    Args:
        url: where `/chat/completions` is added (`http://host:port/v1`); `remote` reads the user's form.
        name: the model's; None for the first that the server offers.
        key: None for the variable STRETTO_MODEL_KEY, else "none".
        clock: seconds, monotonic, for the breaker.
    """

    def __init__(
        self,
        url: str,
        name: str | None = None,
        *,
        key: str | None = None,
        options: RemoteOptions | None = None,
        breaker: Breaker | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url, self.options = url, options or RemoteOptions()
        self.server = Server(url, self._connected, breaker or Breaker(), clock)
        self._name = name
        self._key = key or os.environ.get(KEY_VARIABLE) or "none"
        # Made here, not in the first draft: it reads certificates, which takes a while.
        self._client: AsyncOpenAI | None = self._new_client()
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, system: str, tools: Sequence[ToolSpec], choice: ToolChoice = AUTO) -> RemoteConversation:
        """A new conversation. Raises ValueError for a tool whose parameters are no JSON schema, and for a
        choice that no tool fits."""
        choice.check(tools)
        return RemoteConversation(self, system, tools, choice)

    async def name(self) -> str:
        """The model's name, asked for once; "default" if the server does not tell."""
        if self._name is not None:
            return self._name
        try:
            async with asyncio.timeout(NAME_S):
                page = await self._connected().get("/models", cast_to=object)
        except APIStatusError as error:
            page = None
            if error.status_code not in (404, 405, 501):
                return "default"
        except (OpenAIError, TimeoutError, ValueError):
            return "default"  # for now: the draft that follows tells what is wrong
        offered = page.get("data") if isinstance(page, dict) else None
        first = offered[0] if isinstance(offered, list) and offered else None
        told = first.get("id") if isinstance(first, dict) else None
        self._name = told if isinstance(told, str) and told else "default"
        return self._name

    def close(self) -> None:
        """Refuse further drafts and let the connections go. In a running loop `aclose` ends them at once."""
        self._client = None

    async def aclose(self) -> None:
        """`close`, and end the connections now."""
        client, self._client = self._client, None
        if client is not None and self._loop in (None, asyncio.get_running_loop()):
            await client.close()

    def _new_client(self) -> AsyncOpenAI:
        timeout = Timeout(self.options.draft_s, connect=self.options.connect_s)
        return AsyncOpenAI(base_url=self.url, api_key=self._key, timeout=timeout, max_retries=0)

    def _connected(self) -> AsyncOpenAI:
        """The client for the running loop."""
        if self._client is None:
            raise RuntimeError("the model is closed; make another one")
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            self._client = self._new_client()
        self._loop = loop
        return self._client
