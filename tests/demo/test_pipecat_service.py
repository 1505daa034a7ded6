"""A real Pipecat pipeline with the embedded model; `test_peers.py` gets Pipecat, and runs this."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pipecat", reason="test_peers.py runs these tests")

from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMMessagesAppendFrame,
    LLMTextFrame,
    MetricsFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.metrics.metrics import LLMUsageMetricsData, TTFBMetricsData
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import FunctionCallParams
from pipecat.turns.user_turn_strategies import ExternalUserTurnStrategies
from pipecat.utils.errors import ErrorCategory
from pipecat.workers.runner import WorkerRunner
from stretto.demo.pipecat_early_drafts import EarlyDrafts
from stretto.demo.pipecat_service import StrettoLLMService
from stretto.llm.conversation import LocalConversation
from stretto.llm.local import LocalModel
from stretto.tools.concierge.database import Database
from stretto.tools.concierge.tools import concierge, system_text
from stretto.tools.tool import Tool

PAGE = Path(__file__).parents[2] / "demo" / "PEERS.md"
NOW = datetime(2026, 11, 21, 10, 0)
WANTED = "I am looking for a cheap Italian restaurant."
ADA = "ada"


def pipecat_tool(tool: Tool) -> FunctionSchema:
    async def run(params: FunctionCallParams) -> None:
        await params.result_callback(json.loads((await tool.run(params.arguments)).text))

    spec, schema = tool.spec, tool.spec.parameters
    return FunctionSchema(
        name=spec.name,
        description=spec.description,
        properties=schema["properties"],
        required=schema["required"],
        handler=run,
    )


@pytest.fixture
def tools() -> Iterator[list[FunctionSchema]]:
    database = Database.seed(3, NOW.date(), held_out=True)
    yield [pipecat_tool(tool) for tool in concierge(database, lambda: NOW)]
    database.close()


class Seen(FrameProcessor):
    """Keeps the frames that come by."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        await self.push_frame(frame, direction)

    def of(self, kind: type[Frame]) -> list[Any]:
        return [frame for frame in self.frames if isinstance(frame, kind)]


class Line:
    """A pipeline of text: user aggregator, our service, what comes out of it, assistant aggregator."""

    def __init__(self, model: LocalModel, tools: Sequence[FunctionSchema] = (), early: bool = False) -> None:
        instruction = StrettoLLMService.Settings(system_instruction=system_text(NOW))
        self.service = StrettoLLMService(model, settings=instruction)
        self.context = LLMContext(tools=list(tools)) if tools else LLMContext()
        turns = LLMUserAggregatorParams(user_turn_strategies=ExternalUserTurnStrategies())
        pair = LLMContextAggregatorPair(self.context, user_params=turns)
        self.seen = Seen()
        before = [EarlyDrafts(self.service, self.context)] if early else []
        self.worker = PipelineWorker(
            Pipeline([*before, pair.user(), self.service, self.seen, pair.assistant()]),
            params=PipelineParams(enable_metrics=True, enable_usage_metrics=True),
            enable_rtvi=False,
            cancel_on_idle_timeout=False,
        )
        self.replies: asyncio.Queue[str] = asyncio.Queue()
        self.errors: asyncio.Queue[Any] = asyncio.Queue()

        @pair.assistant().event_handler("on_assistant_turn_stopped")
        async def _(aggregator: Any, message: Any) -> None:
            if message.content:  # a turn that calls, or fails, has no words
                self.replies.put_nowait(message.content)

        @self.service.event_handler("on_error")
        async def _(service: Any, error: Any) -> None:
            self.errors.put_nowait(error)

    async def queue(self, *frames: Frame) -> None:
        for frame in frames:
            await self.worker.queue_frame(frame)

    async def type(self, words: Any) -> None:
        message = {"role": "user", "content": words}
        await self.queue(LLMMessagesAppendFrame(messages=[message], run_llm=True))

    async def ask(self, words: str) -> str:
        await self.type(words)
        return await self.replies.get()

    def measured(self, kind: type) -> list[Any]:
        return [data for frame in self.seen.of(MetricsFrame) for data in frame.data if isinstance(data, kind)]


def held(line: Callable[[], Line], work: Callable[[Line], Awaitable[None]]) -> None:
    """While the pipeline runs; nothing of it is left at the end."""

    async def within() -> None:
        made = line()
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(made.worker)
        running = asyncio.create_task(runner.run())
        async with asyncio.timeout(100):
            try:
                await work(made)
            finally:
                await made.worker.queue_frame(EndFrame())
                await running
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(within())


def test_a_reply_and_what_it_took(embedded: LocalModel) -> None:
    async def work(line: Line) -> None:
        first = await line.ask("Good morning!")
        second = await line.ask("I would like to book a hotel.")
        pieces = [frame.text for frame in line.seen.of(LLMTextFrame)]
        assert len(pieces) > 4, "it comes as it settles"
        assert "".join(pieces) == first + second
        roles = [message["role"] for message in line.context.messages]
        assert roles == ["user", "assistant", "user", "assistant"]
        latencies = [data.value for data in line.measured(TTFBMetricsData) if data.model == "stretto"]
        assert len(latencies) == 2 and min(latencies) > 0
        one, two = (data.value for data in line.measured(LLMUsageMetricsData))
        assert one.prompt_tokens > 30 and one.completion_tokens > 3 and one.cache_read_input_tokens == 0
        assert two.cache_read_input_tokens >= one.prompt_tokens, "the history is not read again"

    held(lambda: Line(embedded), work)


def test_pipecat_runs_a_call_and_its_result_is_spoken_about(
    embedded: LocalModel, tools: list[FunctionSchema]
) -> None:
    async def work(line: Line) -> None:
        reply = await line.ask(WANTED)
        _, called, result, spoken = line.context.messages
        (call,) = called["tool_calls"]
        assert call["function"]["name"] == "find_restaurants"
        assert json.loads(call["function"]["arguments"])["food"].lower() == "italian"
        assert result["role"] == "tool" and result["tool_call_id"] == call["id"]
        found = json.loads(result["content"])["restaurants"]
        assert any(row["name"] in reply for row in found)
        assert spoken["content"] == reply

    held(lambda: Line(embedded, tools), work)


def test_an_interruption_gives_the_draft_up_and_what_was_heard_is_remembered(
    embedded: LocalModel, monkeypatch: pytest.MonkeyPatch, stuck_drafts: Any
) -> None:
    restored: list[Any] = []
    restore = LocalConversation.restore

    async def remembered(self: LocalConversation, messages: Any) -> None:
        restored.append([message["content"] for message in messages])
        await restore(self, messages)

    monkeypatch.setattr(LocalConversation, "restore", remembered)

    async def work(line: Line) -> None:
        with monkeypatch.context() as patch:
            stuck = stuck_drafts(patch)
            await line.type("Good morning!")
            await stuck.reached.wait()
            while not line.seen.of(LLMTextFrame):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await line.queue(InterruptionFrame())
            await stuck.given_up.wait()
            heard = await line.replies.get()
        assert heard
        assert await line.ask("I would like to book a hotel.")
        assert restored[-1] == ["Good morning!", heard, "I would like to book a hotel."]

    held(lambda: Line(embedded), work)


def test_replies_are_drafted_while_the_caller_speaks(
    embedded: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    revised: list[bool] = []
    real = LocalConversation.draft

    def draft(self: LocalConversation, effort: Any, deadline: Any, revise: Any, steering: Any) -> Any:
        revised.append(revise is not None)
        return real(self, effort, deadline, revise, steering)

    def interim(text: str) -> Frame:
        return InterimTranscriptionFrame(text=text, user_id=ADA, timestamp="")

    async def alone(line: Line) -> None:
        expected.append(await line.ask("I would like a hotel."))

    expected: list[str] = []
    held(lambda: Line(embedded), alone)
    monkeypatch.setattr(LocalConversation, "draft", draft)

    async def work(line: Line) -> None:
        await line.queue(UserStartedSpeakingFrame(), interim("I would"), interim("I would like a hotel"))
        while len(revised) < 1 or line.service.requests._early is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.wait([line.service.requests._early])
        assert not line.seen.of(LLMTextFrame) and not line.context.messages, "nobody hears of it"
        final = TranscriptionFrame(text="I would like a hotel.", user_id=ADA, timestamp="")
        await line.queue(final, UserStoppedSpeakingFrame())
        assert await line.replies.get() == expected[0]
        assert revised[-1], "the reply began from what was drafted"

    held(lambda: Line(embedded, early=True), work)


def test_a_speculative_reply_is_held_until_the_turn_is_over(embedded: LocalModel) -> None:
    """Pipecat's own speculation, on a recogniser's guess that the turn ends."""

    async def work(line: Line) -> None:
        guess = LLMContext(messages=[{"role": "user", "content": "Good morning!"}])
        await line.queue(UserStartedSpeakingFrame(), LLMContextFrame(context=guess, speculation=True))
        while not line.measured(LLMUsageMetricsData):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert not line.seen.of(LLMTextFrame)
        await line.queue(UserStoppedSpeakingFrame())
        assert await line.replies.get()

    held(lambda: Line(embedded), work)


def test_what_goes_wrong_is_an_error_frame_and_the_next_turn_is_answered(
    embedded: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def melts(*_: Any) -> None:
        raise RuntimeError("the processor melts")

    async def work(line: Line) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(LocalConversation, "draft", melts)
            await line.type("Good morning!")
            assert "the processor melts" in (await line.errors.get()).error
        assert await line.ask("Good morning!")
        await line.type([{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}])
        error = await line.errors.get()
        assert "input_audio is not supported" in error.error and error.category is ErrorCategory.APPLICATION
        line.context.set_messages([])
        assert await line.ask("Good morning!")
        assert line.service.is_usable

    held(lambda: Line(embedded), work)


def test_one_answer_beside_the_pipeline_fits_its_schema(embedded: LocalModel) -> None:
    schema = {"type": "object", "properties": {"day": {"enum": ["Monday", "Friday"]}}, "required": ["day"]}

    async def work(line: Line) -> None:
        context = LLMContext(messages=[{"role": "user", "content": "On Friday."}])
        told = await line.service.run_inference(context, response_schema=schema)
        assert told is not None and json.loads(told)["day"] in ("Monday", "Friday")
        short = await line.service.run_inference(context, max_tokens=2, system_instruction="Be brief.")
        assert short and len(embedded.tokenizer.encode(short)) <= 2

    held(lambda: Line(embedded), work)


def test_without_a_model_it_brings_its_own() -> None:
    async def work() -> None:
        service = StrettoLLMService()
        context = LLMContext(messages=[{"role": "user", "content": "Good morning!"}])
        async with asyncio.timeout(100):
            assert await service.run_inference(context)
            await service.cleanup()
            with pytest.raises(RuntimeError, match="closed"):
                await service.run_inference(context)

    asyncio.run(work())


def test_the_program_of_the_page_runs() -> None:
    (program,) = re.findall(r"```python\n(# with_pipecat.py\n.*?)```", PAGE.read_text(), re.S)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"^agent: .*4711", ran.stdout, re.M)
