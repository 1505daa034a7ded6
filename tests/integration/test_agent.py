"""`Agent` in somebody else's program: asyncio or not, the embedded models or parts of one's own."""

from __future__ import annotations

import asyncio
import inspect
import json
import queue
import typing
import urllib.error
import urllib.request

import numpy as np
import pytest
import soundfile
import stretto.agent
from stretto.agent import Agent, AgentCall, SessionOptions, SyncAgent, events
from stretto.agent.server.opening import ServeOptions
from stretto.agent.settings import ServeSettings
from stretto.agent.sync import SyncCall
from stretto.audio.synthesise import Synthesiser
from stretto.llm.constraints.schema import UnsupportedSchema
from stretto.llm.language_model import Call
from stretto.tools.declared import DeclaredTool
from websockets.asyncio.client import connect

QUIET = SessionOptions(greeting="")


def opening_hours(day: str) -> str:
    """When the shop is open on a day."""
    return f"nine to six on {day}"


async def book(bike: str, day: str) -> dict[str, str]:
    """Book a repair."""
    return {"bike": bike, "day": day}


@pytest.fixture(scope="module")
def caller(tmp_path_factory):
    """A recorded caller: the file, and its samples at 8 kHz."""
    voice = Synthesiser(pitch=1.15)
    pcm = np.concatenate([chunk.pcm for chunk in voice.synthesise("When are you open on Friday?")])
    voice.close()
    path = tmp_path_factory.mktemp("caller") / "caller.wav"
    soundfile.write(path, pcm, voice.rate)
    import soxr

    return path, soxr.resample(pcm, voice.rate, 8000)


def policy(conversation):
    if conversation.results:
        return f"We are open {conversation.results[-1]}.", ()
    if "open" in conversation.caller.lower():
        return "", (Call("id1", "opening_hours", {"day": "Friday"}),)
    return "Hello there.", ()


def test_the_embedded_models_answer_a_recording(caller, tmp_path):
    async def work():
        tools = [opening_hours, book]
        async with Agent("You answer the phone of a bike shop.", tools) as agent:
            return await agent.answer(caller[0], tmp_path / "call.wav")

    record = asyncio.run(work())
    turn = next(turn for turn in record.turns if turn.caller)
    assert "open on friday" in turn.caller.lower()
    assert turn.heard and turn.voice_to_voice_ms is not None
    both, rate = soundfile.read(tmp_path / "call.wav")
    assert both.shape[1] == 2 and np.abs(both[:, 1]).max() > 0.05 and rate == 24_000


def test_a_call_in_asyncio_with_two_tools(caller, scripted, speech):
    model = scripted(policy)
    heard: list[np.ndarray] = []

    async def work():
        agent = Agent(
            "You answer the phone of a bike shop.", [opening_hours, book], model=model, options=QUIET,
            recogniser=speech.recogniser, voice=speech.synthesiser,
        )  # fmt: skip
        async with agent, agent.call(lambda pcm, at: heard.append(pcm), rate=8000) as call:
            happened = call.events()
            pcm = np.concatenate([caller[1], np.zeros(16_000, np.int16)])
            for start in range(0, len(pcm), 400):  # as a telephone would
                call.hear(pcm[start : start + 400].astype("<i2").tobytes(), rate=8000)
                await asyncio.sleep(0.05)
            async for event in happened:
                if isinstance(event, events.AgentHeard):
                    break
            call.write("And thanks.")
            async for event in happened:
                if isinstance(event, events.AgentHeard):
                    break
        assert call.over
        return call.record

    record = asyncio.run(asyncio.wait_for(work(), 60))
    first, second = record.turns
    assert [(t.name, t.result) for t in first.tools] == [("opening_hours", '"nine to six on Friday"')]
    assert first.heard == "We are open nine to six on Friday." and second.heard
    assert record.ended == "caller"
    sound = np.concatenate(heard)
    assert len(heard[0]) == 160 and np.abs(sound.astype(int)).max() > 2000


def test_a_call_without_asyncio(scripted, speech):
    model = scripted(lambda conversation: ("You wrote something.", ()))
    parts = {"model": model, "recogniser": speech.recogniser, "voice": speech.synthesiser}
    heard: list[np.ndarray] = []
    agent = SyncAgent("Be brief.", [opening_hours], options=QUIET, **parts)
    with agent, agent.call(lambda pcm, at: heard.append(pcm)) as call:
        call.write("Hello?")
        kinds = []
        for event in call.events(timeout_s=30):
            kinds.append(type(event).__name__)
            if isinstance(event, events.AgentHeard):
                break
        assert call.hang_up().turns[0].heard == "You wrote something."
        assert [type(e).__name__ for e in call.events(timeout_s=5)][-1] == "HangUp"
        with pytest.raises(queue.Empty):
            next(call.events(timeout_s=0.01))
    assert kinds[0] == "SessionStarted" and np.abs(np.concatenate(heard).astype(int)).max() > 2000


def test_what_is_wrong_is_told_before_a_call(scripted, speech, tmp_path):
    def enter(**changes):
        async def work():
            async with Agent("Be brief.", **changes):
                pass

        asyncio.run(work())

    async def nothing(call_id, arguments):
        return ""

    odd = DeclaredTool("odd", "", {"properties": {"x": {"$ref": "#/nowhere"}}}, nothing)
    parts = {"recogniser": speech.recogniser, "voice": speech.synthesiser}
    with pytest.raises(TypeError):
        Agent("x", [lambda nothing: nothing])
    with pytest.raises(Exception, match="No such file"):
        enter(facts=tmp_path / "none.txt", model=scripted(policy), **parts)
    with pytest.raises(UnsupportedSchema):
        enter(tools=[odd], **parts)
    taken = DeclaredTool("hang_up", "", {}, nothing)
    with pytest.raises(ValueError, match="hang_up is built in"):
        enter(tools=[taken], model=scripted(policy), **parts)
    with pytest.raises(Exception, match="voice"):
        enter(voice="nobody", model=scripted(policy), recogniser=speech.recogniser)
    with pytest.raises(RuntimeError, match="async with"):
        Agent("x").model  # noqa: B018


def test_a_failing_program_leaves_no_call_behind(scripted, speech):
    model = scripted(lambda conversation: ("Hm.", ()))

    async def work():
        agent = Agent("x", model=model, recogniser=speech.recogniser, voice=speech.synthesiser, options=QUIET)
        with pytest.raises(ExceptionGroup) as raised:
            async with agent, agent.call(lambda pcm, at: None) as call:
                raise KeyError("mine")
        assert raised.group_contains(KeyError)
        assert call.over
        await asyncio.sleep(0.05)
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    assert asyncio.run(work()) == []


# ---------------------------------------------------------------------- the same without asyncio


def methods(kind):
    """The public ones, with what they take."""
    found = inspect.getmembers(kind, inspect.isfunction)
    return {name: list(inspect.signature(each).parameters.values()) for name, each in found if name[0] != "_"}


def test_sync_is_typed_as_async_is_and_lacks_nothing():
    def taken(kind):
        return [p.replace(name=p.name) for p in inspect.signature(kind.__init__).parameters.values()]

    assert taken(SyncAgent) == taken(Agent)  # names, kinds, types, defaults
    assert methods(SyncAgent) == methods(Agent)
    sync, held = methods(SyncCall), methods(AgentCall)
    assert set(held) <= set(sync)
    for name in set(held) - {"events"}:  # which takes a time limit
        assert sync[name] == held[name], name


def test_what_one_brings_is_typed_in_one_place():
    for name in ("Recogniser", "Recognition", "Voice", "LanguageModel", "Conversation"):
        assert getattr(getattr(stretto.agent, name), "_is_protocol", False) and name in stretto.agent.__all__
    assert set(stretto.agent.__all__) == set(stretto.agent._HOMES)
    for name in stretto.agent.__all__:
        assert getattr(stretto.agent, name) is not None


# ---------------------------------------------------------------------- serving


def test_serving_takes_every_setting_of_serve():
    given = set(typing.get_type_hints(ServeOptions))
    assert given == set(ServeSettings.model_fields) - {"host", "port", "keys"}


def asked(url, **headers):
    """What a plain request gets: status and JSON."""
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_server_of_a_program_records_and_limits_as_told(scripted, speech, tmp_path):
    model = scripted(lambda conversation: ("You wrote something.", ()))
    shop, other = "https://shop.example", "https://other.example"
    agent = SyncAgent("x", model=model, recogniser=speech.recogniser, voice=speech.synthesiser, options=QUIET)
    told = {"record": tmp_path / "of" / "calls", "origins": [shop], "max_sessions": 1, "metrics": False}

    async def ask(url):
        async with connect(url.replace("http", "ws") + "/v1/realtime?stretto=events") as line:
            await line.recv()
            refused = await asyncio.to_thread(asked, f"{url}/v1/models", Origin=other)
            allowed = await asyncio.to_thread(asked, f"{url}/v1/models", Origin=shop)
            with pytest.raises(Exception, match="503"):
                async with connect(url.replace("http", "ws") + "/v1/realtime"):
                    pass
            item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello?"}]}
            await line.send(json.dumps({"type": "conversation.item.create", "item": item}))
            await line.send(json.dumps({"type": "response.create"}))
            async with asyncio.timeout(30):
                while json.loads(await line.recv())["type"] != "stretto.AgentHeard":
                    pass
        return refused[0], allowed[0]

    with agent, agent.serving(port=0, **told) as url:
        assert asyncio.run(asyncio.wait_for(ask(url), 60)) == (403, 200)
        assert asked(f"{url}/metrics")[0] == 404
    kept = {path.suffix for path in told["record"].iterdir()}
    assert kept == {".wav", ".jsonl", ".html"}
    (page,) = told["record"].glob("*.html")
    shown = page.read_text(encoding="utf-8")
    assert "You wrote something." in shown and f'src="{page.with_suffix(".wav").name}"' in shown
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{url}/healthz", timeout=5)


def test_what_no_server_can_be_is_told(scripted, speech):
    agent = SyncAgent("x", model=scripted(policy), recogniser=speech.recogniser, voice=speech.synthesiser)
    with agent:
        for wrong, told in (
            ({"host": "0.0.0.0"}, "STRETTO_SERVE__KEYS"),
            ({"max_sessions": 0}, "max_sessions"),
            ({"recrod": "x"}, "recrod"),
        ):
            with pytest.raises(ValueError, match=told), agent.serving(**wrong):
                pass
