"""Stretto's language model as the LLM service of a Pipecat pipeline (`pip install pipecat-ai`); see PEERS.md.

llm = StrettoLLMService(settings=StrettoLLMService.Settings(system_instruction="…"))
Pipeline([transport.input(), stt, user, llm, tts, transport.output(), assistant])
"""

from __future__ import annotations

import asyncio
from typing import Any

from pipecat.adapters.llm.services.open_ai_adapter import OpenAILLMAdapter
from pipecat.frames.frames import (
    Frame,
    FunctionCallFromLLM,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
)
from pipecat.metrics.metrics import LLMTokenUsage
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings
from pipecat.utils.errors import ErrorCategory
from pipecat.utils.tracing.service_decorators import traced_llm
from pipecat.utils.types import is_given
from stretto.demo.chat_requests import ChatRequests
from stretto.llm.language_model import Effort
from stretto.llm.local import LocalModel
from stretto.llm.serve.error import ApiError


class StrettoLLMService(LLMService[OpenAILLMAdapter]):
    """A diffusion language model in this process. Without a `model` the embedded one is loaded, and closed
    with this; one `model` may serve many pipelines, each with a service of its own. `timeout_secs`: without
    new text a reply is given up."""

    adapter_class = OpenAILLMAdapter
    Settings = LLMSettings
    supports_response_schema = True

    def __init__(
        self,
        model: LocalModel | None = None,
        *,
        effort: Effort = "medium",
        timeout_secs: float = 10.0,
        settings: LLMSettings | None = None,
        **options: Any,
    ) -> None:
        started = LLMSettings(
            model="stretto", system_instruction=None, temperature=None, max_tokens=None, seed=None,
            top_p=None, top_k=None, frequency_penalty=None, presence_penalty=None,
            filter_incomplete_user_turns=False, user_turn_completion_config=None,
        )  # fmt: skip
        if settings is not None:
            started.apply_update(settings)
        super().__init__(settings=started, **options)
        self._model, self._owned = model or LocalModel(), model is None
        self.requests = ChatRequests(self._model, effort)
        self._timeout_secs = timeout_secs

    def can_generate_metrics(self) -> bool:
        return True

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        try:
            await self.push_frame(LLMFullResponseStartFrame())
            await self.start_processing_metrics()
            await self._process_context(frame.context)
        except TimeoutError as error:
            await self._call_event_handler("on_completion_timeout")
            await self.push_error(f"no new text for {self._timeout_secs:g} s", exception=error)
        except ApiError as error:  # none of them makes the service useless for the next request
            kind = {400: ErrorCategory.APPLICATION, 503: ErrorCategory.RATE_LIMIT}
            await self.push_error(
                f"no reply: {error}", exception=error, category=kind.get(error.status, ErrorCategory.SERVER)
            )
        except Exception as error:
            await self.push_error(f"no reply: {error}", exception=error)
        finally:
            await self.stop_processing_metrics()
            await self.push_frame(LLMFullResponseEndFrame())

    @traced_llm
    async def _process_context(self, context: LLMContext) -> None:
        await self.start_ttfb_metrics()
        now = asyncio.get_running_loop().time
        request = await self.request(context)
        async with (
            asyncio.timeout(self._timeout_secs) as limit,
            self.requests.answering(request) as answer,
        ):
            async for text in answer:
                await self.stop_ttfb_metrics()
                limit.reschedule(now() + self._timeout_secs)
                await self._push_llm_text(text)
        await self.stop_ttfb_metrics()  # for a reply without words
        used = answer.reply.usage()
        cached = answer.cached_tokens
        counted = {name: used[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
        await self.start_llm_usage_metrics(LLMTokenUsage(**counted, cache_read_input_tokens=cached))
        if answer.reply.calls:
            await self.stop_ttfat_metrics()
        await self.run_function_calls(
            [
                FunctionCallFromLLM(
                    context=context, tool_call_id=call.id, function_name=call.name, arguments=call.arguments
                )
                for call in answer.reply.calls
            ]
        )

    async def request(self, context: LLMContext, system_instruction: str | None = None) -> dict[str, Any]:
        """A context in the form of OpenAI's chat completions, with the settings that there are."""
        params = await self.get_llm_adapter().get_llm_invocation_params(
            context,
            system_instruction=system_instruction or self._settings.system_instruction or None,
            convert_developer_to_user=True,
        )
        settings = {name: getattr(self._settings, name) for name in ("temperature", "seed", "max_tokens")}
        known = {name: value for name, value in settings.items() if value is not None and is_given(value)}
        given = {name: value for name, value in params.items() if isinstance(value, list | dict | str)}
        if not given.get("tools"):
            given.pop("tool_choice", None)
        return {**known, **given, **self._settings.extra}

    async def run_inference(
        self,
        context: LLMContext,
        max_tokens: int | None = None,
        system_instruction: str | None = None,
        response_schema: dict[str, Any] | None = None,
    ) -> str | None:
        """One answer beside the pipeline, as for a summary; with a schema, JSON text that fits it."""
        request = await self.request(context, system_instruction)
        if max_tokens is not None:
            request["max_tokens"] = max_tokens
        if response_schema is not None:
            form = {"name": "response", "schema": response_schema}
            request["response_format"] = {"type": "json_schema", "json_schema": form}
        async with self.requests.answering(request) as answer:
            return "".join([text async for text in answer]) or None

    async def cleanup(self) -> None:
        await super().cleanup()  # type: ignore[no-untyped-call]
        await self.requests.aclose()
        if self._owned:
            self._model.close()
