"""LiveKit's own session and tools with the embedded model; `test_peers.py` gets LiveKit, and runs this."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("livekit.agents", reason="test_peers.py runs these tests")

from livekit.agents import Agent, AgentSession, APIConnectOptions, APIStatusError, llm
from livekit.agents.llm import function_tool
from stretto.demo.livekit_plugin import StrettoLLM
from stretto.llm.conversation import LocalConversation
from stretto.llm.local import LocalModel
from stretto.tools.concierge.database import Database
from stretto.tools.concierge.tools import concierge, system_text
from stretto.tools.tool import Tool

PAGE = Path(__file__).parents[2] / "demo" / "PEERS.md"
NOW = datetime(2026, 11, 21, 10, 0)
WANTED = "I am looking for a cheap Italian restaurant."


def livekit_tool(tool: Tool) -> Any:
    async def run(raw_arguments: dict[str, object]) -> Any:
        return json.loads((await tool.run(raw_arguments)).text)

    spec = tool.spec
    schema = {"name": spec.name, "description": spec.description, "parameters": dict(spec.parameters)}
    return function_tool(run, raw_schema=schema)


@pytest.fixture
def tools() -> Iterator[list[Any]]:
    database = Database.seed(3, NOW.date(), held_out=True)
    yield [livekit_tool(tool) for tool in concierge(database, lambda: NOW)]
    database.close()


def limited(work: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(100):
            await work()

    asyncio.run(within())


def held(
    model: LocalModel, tools: list[Any], work: Callable[[AgentSession, StrettoLLM], Awaitable[None]]
) -> None:
    """A session of text; nothing of it is left at the end."""

    async def within() -> None:
        brain = StrettoLLM(model)
        async with asyncio.timeout(100), AgentSession(llm=brain) as session:
            await session.start(Agent(instructions=system_text(NOW), tools=tools))
            await work(session, brain)
        await brain.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        async with asyncio.timeout(30):
            while model.engine.alive:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    asyncio.run(within())


def test_a_reply_and_what_it_took(embedded: LocalModel) -> None:
    async def work(session: AgentSession, brain: StrettoLLM) -> None:
        told: list[Any] = []
        brain.on("metrics_collected", told.append)
        for words in ("Good morning!", "I would like to book a hotel."):
            result = await session.run(user_input=words)
            spoken = result.expect.next_event().is_message(role="assistant").event()
            assert len(spoken.item.text_content.split()) > 2
        first, second = told[0], told[-1]
        assert first.ttft > 0 and first.completion_tokens > 3 and first.label.endswith("StrettoLLM")
        assert first.prompt_cached_tokens == 0 and first.prompt_tokens > 30
        assert second.prompt_cached_tokens >= first.prompt_tokens, "the history is not read again"

    held(embedded, [], work)


def test_livekit_runs_a_call_and_its_result_is_spoken_about(embedded: LocalModel, tools: list[Any]) -> None:
    async def work(session: AgentSession, brain: StrettoLLM) -> None:
        result = await session.run(user_input=WANTED)
        call = result.expect.next_event().is_function_call(name="find_restaurants").event()
        assert json.loads(call.item.arguments)["food"].lower() == "italian"
        # LiveKit keeps an object as Python writes it.
        output = ast.literal_eval(result.expect.next_event().is_function_call_output().event().item.output)
        spoken = result.expect.next_event().is_message(role="assistant").event().item.text_content
        assert any(row["name"] in spoken for row in output["restaurants"])
        result.expect.no_more_events()

    held(embedded, tools, work)


def test_an_interruption_gives_the_draft_up_and_what_was_heard_is_remembered(
    embedded: LocalModel, monkeypatch: pytest.MonkeyPatch, stuck_drafts: Any
) -> None:
    restored: list[Any] = []
    restore = LocalConversation.restore

    async def remembered(self: LocalConversation, messages: Any) -> None:
        restored.append([(m["role"], m.get("content")) for m in messages])
        await restore(self, messages)

    monkeypatch.setattr(LocalConversation, "restore", remembered)

    async def work(session: AgentSession, brain: StrettoLLM) -> None:
        with monkeypatch.context() as patch:
            stuck, speaking = stuck_drafts(patch), asyncio.Event()
            session.on("agent_state_changed", lambda e: e.new_state == "speaking" and speaking.set())
            session.generate_reply(user_input="Good morning!")
            await stuck.reached.wait()
            await speaking.wait()
            await session.interrupt()
            assert stuck.given_up.is_set()
        heard = session.history.messages()[-1]
        assert heard.role == "assistant" and heard.interrupted and heard.text_content
        result = await session.run(user_input="I would like to book a hotel.")
        assert result.expect.next_event().is_message(role="assistant")
        assert restored[-1] == [
            ("user", "Good morning!"),
            ("assistant", heard.text_content),
            ("user", "I would like to book a hotel."),
        ]

    held(embedded, [], work)


def test_a_preemptive_reply_that_is_given_up_leaves_the_right_one(embedded: LocalModel) -> None:
    """What LiveKit does where the transcript changes: the stream is closed, another one is asked for."""

    def asked(brain: StrettoLLM, words: str) -> llm.LLMStream:
        context = llm.ChatContext.empty()
        context.add_message(role="system", content=system_text(NOW))
        context.add_message(role="user", content=words)
        return brain.chat(chat_ctx=context)

    async def work() -> None:
        brain, other = StrettoLLM(embedded), StrettoLLM(embedded)
        alone = await asked(other, "I need a hotel room.").collect()
        async with asked(brain, "I need a") as early:
            await anext(early)
        whole = await asked(brain, "I need a hotel").collect()
        assert whole.text
        reply = await asked(brain, "I need a hotel room.").collect()
        assert reply.text == alone.text
        assert reply.usage is not None and reply.usage.prompt_cached_tokens > 10
        await brain.aclose()
        await other.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    limited(work)


def test_results_reach_the_model_as_json(embedded: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    restored: list[str] = []
    restore = LocalConversation.restore

    async def remembered(self: LocalConversation, messages: Any) -> None:
        restored.extend(message["content"] for message in messages if message["role"] == "tool")
        await restore(self, messages)

    monkeypatch.setattr(LocalConversation, "restore", remembered)
    outputs = {
        "{'sure': True, 'of': ['it', None]}": '{"sure":true,"of":["it",null]}',
        "It's {fine}": "It's {fine}",
    }

    async def work() -> None:
        brain, context = StrettoLLM(embedded), llm.ChatContext.empty()
        context.add_message(role="user", content="Please look.")
        for number, output in enumerate(outputs):
            call = {"call_id": str(number), "name": "look"}
            context.items.append(llm.FunctionCall(arguments="{}", **call))
            context.items.append(llm.FunctionCallOutput(output=output, is_error=False, **call))
        await brain.chat(chat_ctx=context).collect()
        await brain.aclose()

    limited(work)
    assert restored == list(outputs.values())


def test_a_model_that_fails_is_asked_again(embedded: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = LocalConversation.draft, [1]

    def draft(self: LocalConversation, *args: Any) -> Any:
        if left:
            left.pop()
            raise RuntimeError("the processor melts")
        return real(self, *args)

    monkeypatch.setattr(LocalConversation, "draft", draft)

    async def work(session: AgentSession, brain: StrettoLLM) -> None:
        told: list[llm.LLMError] = []
        brain.on("error", told.append)
        result = await session.run(user_input="Good morning!")
        assert result.expect.next_event().is_message(role="assistant")
        (failure,) = told
        assert failure.recoverable and "the processor melts" in str(failure.error)

    held(embedded, [], work)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [({"type": "object", "properties": {"at": {"type": "string", "pattern": "(?=x)"}}}, "pattern")],
)
def test_what_cannot_be_answered_is_a_status_of_its_own(
    embedded: LocalModel, parameters: dict[str, Any], told: str
) -> None:
    async def nothing(raw_arguments: dict[str, object]) -> None: ...

    tool = function_tool(nothing, raw_schema={"name": "odd", "description": "", "parameters": parameters})

    async def work() -> None:
        brain, context = StrettoLLM(embedded), llm.ChatContext.empty()
        context.add_message(role="user", content="Hello")
        failures: list[llm.LLMError] = []
        brain.on("error", failures.append)
        with pytest.raises(APIStatusError, match=told) as raised:
            await brain.chat(chat_ctx=context, tools=[tool]).collect()
        assert raised.value.status_code == 400 and not raised.value.retryable
        assert [failure.recoverable for failure in failures] == [False]
        stream = brain.chat(chat_ctx=context, conn_options=APIConnectOptions(max_retry=0))
        assert (await stream.collect()).text
        await brain.aclose()

    limited(work)


def test_without_a_model_it_brings_its_own() -> None:
    async def work() -> None:
        async with StrettoLLM() as brain:
            context = llm.ChatContext.empty()
            context.add_message(role="user", content="Good morning!")
            assert (await brain.chat(chat_ctx=context).collect()).text
            assert (brain.model, brain.provider) == ("stretto", "stretto")

    limited(work)


def test_the_program_of_the_page_runs() -> None:
    (program,) = re.findall(r"```python\n(# with_livekit.py\n.*?)```", PAGE.read_text(), re.S)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"^message .*role='assistant' content=\[.*4711", ran.stdout, re.M)
