"""Stretto's language model as the LLM of a LiveKit agent (`pip install livekit-agents`); see PEERS.md.

    session = AgentSession(llm=StrettoLLM(), stt=…, tts=…, vad=…)

With preemptive generation, which LiveKit has on by default, a reply is drafted while the end of the turn is
still awaited; where the words change, that draft is revised.
"""

from __future__ import annotations

import ast
import asyncio
from typing import Any

from livekit.agents import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
    NotGivenOr,
    llm,
)
from livekit.agents.utils import is_given
from stretto.demo.chat_requests import Answer, ChatRequests
from stretto.llm.constraints.call_text import compact_json
from stretto.llm.language_model import Effort
from stretto.llm.local import LocalModel
from stretto.llm.serve.error import ApiError


class StrettoLLM(llm.LLM[Any]):
    """A diffusion language model in this process. Without a `model` the embedded one is loaded, and closed
    with this; one `model` may serve many sessions, each with an LLM of its own."""

    def __init__(self, model: LocalModel | None = None, *, effort: Effort = "medium") -> None:
        super().__init__()
        self._model, self._owned = model or LocalModel(), model is None
        self.requests = ChatRequests(self._model, effort)

    @property
    def model(self) -> str:
        return "stretto"

    @property
    def provider(self) -> str:
        return "stretto"

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[llm.ToolChoice] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
    ) -> llm.LLMStream:
        """`extra_kwargs`: more fields of OpenAI's chat completions, as `temperature` or `response_format`."""
        request = dict(extra_kwargs) if is_given(extra_kwargs) else {}
        if is_given(parallel_tool_calls):
            request["parallel_tool_calls"] = parallel_tool_calls
        if tools and is_given(tool_choice):
            request["tool_choice"] = tool_choice
        return _Stream(self, request, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)

    async def aclose(self) -> None:
        await super().aclose()
        await self.requests.aclose()
        if self._owned:
            self._model.close()


class _Stream(llm.LLMStream):
    """One reply. Closed by LiveKit where it is interrupted, which gives the draft up."""

    def __init__(self, owner: StrettoLLM, request: dict[str, Any], **options: Any) -> None:
        super().__init__(owner, **options)
        self._owner, self._request = owner, request
        self._retry_on_chunk_sent = False  # what was said is not said again

    async def _run(self) -> None:
        messages, _ = self._chat_ctx.to_provider_format("openai")
        for message in messages:
            if message["role"] == "tool":
                message["content"] = _as_json(message["content"])
        tools = llm.ToolContext(self._tools).parse_function_tools("openai", strict=False)
        request = self._request | {"messages": messages, "tools": tools}
        patience, now = self._conn_options.timeout, asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(patience) as limit, self._owner.requests.answering(request) as answer:
                async for text in answer:
                    limit.reschedule(now() + patience)
                    self._send(answer, llm.ChoiceDelta(role="assistant", content=text))
                self._finish(answer)
        except TimeoutError:
            raise APITimeoutError() from None
        except ApiError as error:
            raise APIStatusError(str(error), status_code=error.status, body=error.body()) from error
        except (APIError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise APIConnectionError("the model failed") from error

    def _send(self, answer: Answer, delta: llm.ChoiceDelta) -> None:
        self._event_ch.send_nowait(llm.ChatChunk(id=answer.reply.id, delta=delta))

    def _finish(self, answer: Answer) -> None:
        """Calls, which LiveKit runs, and what it took."""
        calls = [
            llm.FunctionToolCall(name=call.name, arguments=compact_json(call.arguments), call_id=call.id)
            for call in answer.reply.calls
        ]
        if calls:
            self._send(answer, llm.ChoiceDelta(role="assistant", tool_calls=calls))
        used = answer.reply.usage()
        usage = llm.CompletionUsage(
            completion_tokens=used["completion_tokens"],
            prompt_tokens=used["prompt_tokens"],
            prompt_cached_tokens=answer.cached_tokens,
            total_tokens=used["total_tokens"],
        )
        self._event_ch.send_nowait(llm.ChatChunk(id=answer.reply.id, usage=usage))


def _as_json(output: str) -> str:
    """A tool's output as the model knows it: LiveKit writes objects as Python does."""
    try:
        value = ast.literal_eval(output)
        return compact_json(value) if isinstance(value, dict | list) else output
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return output
