"""Replies drafted while the caller still speaks, in a Pipecat pipeline; see PEERS.md.

    Pipeline([…, stt, EarlyDrafts(llm, context), user_aggregator, llm, …])

Nothing of such a draft is heard, and no function runs: the answer begins from it once Pipecat asks for one.
"""

from __future__ import annotations

from pipecat.frames.frames import (
    Frame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from stretto.demo.pipecat_service import StrettoLLMService


class EarlyDrafts(FrameProcessor):
    """Stands before the user aggregator, which keeps words that are not final to itself."""

    def __init__(self, service: StrettoLLMService, context: LLMContext) -> None:
        super().__init__()
        self._service, self._context = service, context
        self._final: list[str] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, UserStartedSpeakingFrame):
            self._final.clear()
        elif isinstance(frame, InterimTranscriptionFrame | TranscriptionFrame):
            words = " ".join([*self._final, frame.text.strip()])
            if isinstance(frame, TranscriptionFrame):
                self._final.append(frame.text.strip())
            request = await self._service.request(self._context)
            caller = {"role": "user", "content": words}
            self._service.requests.expect(request | {"messages": [*request["messages"], caller]})
