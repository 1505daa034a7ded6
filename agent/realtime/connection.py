"""One client of the Realtime protocol: its events lead a session, the session's come back as events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stretto.agent.builtin import BUILT_IN
from stretto.agent.caller_id import CallInformation
from stretto.agent.hearing import Recogniser
from stretto.agent.history import told
from stretto.agent.realtime import client_events as c
from stretto.agent.realtime.aside import answer_aside, context_of
from stretto.agent.realtime.audio_format import Decoder
from stretto.agent.realtime.client_tools import as_json, client_tools
from stretto.agent.realtime.errors import RequestError
from stretto.agent.realtime.items import Item, Items, arguments_of, content_of
from stretto.agent.realtime.reporter import Reporter
from stretto.agent.realtime.responses import Response, Responses
from stretto.agent.realtime.session_config import RealtimeSession
from stretto.agent.realtime.stream_clock import StreamClock
from stretto.agent.realtime.wire import Wire, new_id
from stretto.agent.realtime.wire_voice import WireVoice
from stretto.agent.session import Session, SessionOptions
from stretto.agent.timeline import CallRecord
from stretto.audio.pcm import FRAME, RATE, Frame, Int16
from stretto.llm.constraints.schema import UnsupportedSchema
from stretto.llm.language_model import LanguageModel
from stretto.tools.journal import Journal
from stretto.tools.runner import AnyTool

log = logging.getLogger(__name__)

BACKLOG = 200
"""Frames (4 s) that may wait before no more of the client's are read."""
MOST_ASIDES = 4
"""Responses outside of the conversation that may be under way at once."""


@dataclass
class Service:
    """What all connections share.

    `tools` are offered until a client brings its own, and with `keep_tools` beside them. `record`: a folder
    for transcripts, and journals of what tools did.
    """

    model: LanguageModel
    recogniser: Recogniser
    voice: Callable[[float], WireVoice]
    """A voice of its own for a connection, at a speed."""
    options: SessionOptions = field(default_factory=SessionOptions)
    tools: Sequence[AnyTool] = ()
    keep_tools: bool = False
    bias: tuple[str, ...] = ()
    model_name: str = "stretto"
    voice_name: str = "stretto"
    record: Path | None = None


class Connection:
    """`run` until the client is gone or the agent hangs up. `extra`: tell Stretto's own events as well."""

    confirmed = False
    """The client does not tell when it plays what it gets."""

    def __init__(self, service: Service, wire: Wire, *, extra: bool = False, greet: bool = False) -> None:
        self.id = new_id("sess")
        self.items = Items()
        self._service = service
        self._wire = wire
        self._extra = extra
        self._config = RealtimeSession(instructions=service.options.system)
        self.clock = StreamClock()
        self._decoder = Decoder(self._config.audio.input.format.type)
        self._voice = service.voice(1.0)
        greeting = service.options.greeting if greet else ""
        self._plain = replace(service.options, greeting=greeting, rate=None)
        self.responses = Responses(
            wire, self.items, lambda: self._config, self._voice.rate, new_id("conv"), self._response_closed
        )
        kept = service.record
        self._journal = None if kept is None else Journal(kept / f"{self.id}.tools.jsonl")
        self.session = Session(
            recogniser=service.recogniser,
            synthesiser=self._voice,
            model=service.model,
            sink=self._played,
            tools=service.tools,
            options=self._config.options(self._plain),
            built_in=BUILT_IN,
            clock=self.clock,
            bias=service.bias,
            outlet=self.responses,
            transcript_path=service.record and service.record / f"{self.id}.jsonl",
            information=CallInformation("realtime", self.id),
            journal=self._journal,
            name=self.id,
        )
        self._reporter = Reporter(
            wire, self.items, self.responses, lambda: self._config, self.session.history, self.session.forget,
            lambda ms: self.clock.position_ms(self.session.started + ms / 1000), extra,
        )  # fmt: skip
        self.session.watch(self._reporter.happened)
        self._led = (self._config, "")
        """What the session follows: a configuration, and what system items add to its instructions."""
        self._leading = asyncio.Lock()
        self._closed = asyncio.Event()
        self._asides: dict[str, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self.played: Callable[[Int16, float], object] | None = None
        """Gets what the agent says, paced, for a recording."""
        self.heard: Callable[[Int16, float], object] | None = None
        """Gets the caller's frames, for a recording."""

    # ------------------------------------------------------------------ its life

    async def run(self, received: AsyncIterator[str | bytes]) -> CallRecord:
        """Serve the client's frames until they end; returns the call's record."""
        self._wire.send("session.created", session=self._shown())
        async with asyncio.TaskGroup() as group:
            self._tasks = group
            call = group.create_task(self.session.run())
            following = group.create_task(self._follow())
            reader = group.create_task(self._read(received))
            await asyncio.wait([call, reader], return_when=asyncio.FIRST_COMPLETED)
            reader.cancel()
            if not call.done():
                await self.session.hang_up()
            record = await call
            following.cancel()
            for aside in self._asides.values():
                aside.cancel()
            self._wire.finish()
        if self._journal is not None:
            self._journal.close()
        return record

    async def _read(self, received: AsyncIterator[str | bytes]) -> None:
        await self.session.picked_up()
        async for text in received:
            if self.session.over:
                return
            try:
                event, event_id = c.parse(text)
            except RequestError as error:
                self._wire.error(str(error), error.code, error.param, c.event_id_of(text))
                continue
            try:
                if not isinstance(event, c.Append | c.CancelResponse):
                    await self._wire.room()  # what makes more for the client to read waits until it has read
                await self._serve(event)
            except RequestError as error:
                self._wire.error(str(error), error.code, error.param, event_id)
            except (ValueError, UnsupportedSchema) as error:
                self._wire.error(str(error), "invalid_value", None, event_id)
            except TimeoutError:
                self._wire.error("it took too long", "server_error", None, event_id)
            except Exception as error:  # a fault of this server's: one event is lost, not the call
                log.exception("an event %s could not be served", event.type)
                self._wire.error(f"it failed ({type(error).__name__})", "server_error", None, event_id)

    async def _follow(self) -> None:
        """Lead the session by its own configuration again, after a response that had another."""
        while True:
            await self._closed.wait()
            self._closed.clear()
            try:
                await self._lead(None)
            except Exception as error:
                log.exception("the session's own configuration could not be taken up again")
                self._wire.error(str(error) or type(error).__name__, "server_error")

    def _shown(self) -> dict[str, Any]:
        return self._config.to_json(self.id, self._service.model_name, self._service.voice_name)

    # ------------------------------------------------------------------ what the client wants

    async def _serve(self, event: c.ClientEvent) -> None:
        match event:
            case c.Append(audio=audio):
                await self._append(audio)
            case c.SessionUpdate(session=changes):
                await self._update(changes)
            case c.CommitAudio():
                await self._commit_audio()
            case c.ClearAudio():
                self._reporter.clearing = True
                self.session.clear()
                self._reporter.clearing = False
                self._wire.send("input_audio_buffer.cleared")
            case c.CreateItem():
                await self._create_item(event)
            case c.TruncateItem():
                self._truncate(event)
            case c.DeleteItem(item_id=name):
                item = self.items.get(name)
                self._forget(item)
                await self._lead(self._config)
                self._wire.send("conversation.item.deleted", item_id=name)
            case c.RetrieveItem(item_id=name):
                self._wire.send("conversation.item.retrieved", item=self.items.get(name).to_json())
            case c.CreateResponse(response=params):
                await self._create_response(params)
            case c.CancelResponse(response_id=name):
                self._cancel(name)
            case c.ClearOutput():
                raise RequestError(
                    "output_audio_buffer.clear is for WebRTC: stop your playback, and send "
                    "conversation.item.truncate",
                    "unsupported_event",
                    "type",
                )

    async def _append(self, audio: str) -> None:
        for pcm in self._decoder.feed(audio):
            async with asyncio.timeout(self.session.options.longest_call_s):
                while self.session.backlog > BACKLOG:  # noqa: ASYNC110 - time of the audio, not of an event
                    await asyncio.sleep(0.02)
            at = self.clock.place(FRAME / RATE)
            if self.heard is not None:
                self.heard(pcm, at)
            self.session.hear(Frame(pcm, at))

    async def _update(self, changes: dict[str, Any]) -> None:
        config = self._config.updated(changes)
        await self._lead(config)
        if config.audio.input.format.type != self._decoder.kind:
            self._decoder = Decoder(config.audio.input.format.type)
        if config.audio.output.speed != self._config.audio.output.speed:
            self._voice.use(self._service.voice(config.audio.output.speed))
        self._config = config
        self._voice.silent = config.text_only
        self._wire.send("session.updated", session=self._shown())

    async def _lead(self, config: RealtimeSession | None) -> None:
        """Have the session follow a configuration; None: its own, unless a response is open."""
        async with self._leading:
            if config is None:
                if self.responses.current is not None:
                    return
                config = self._config
            old, _ = self._led
            said = "\n".join(item.fields["content"][0]["text"] for item in self.items.of_role("system"))
            if self._led == (config, said):
                return
            options = config.options(self._plain)
            options = replace(options, system=f"{options.system}\n{said}".strip())
            tools: list[AnyTool] | None = None
            built_in = None
            if config.tools != old.tools:
                tools = self._tools(config)
                built_in = BUILT_IN if config.tools is None and tools else ()
            vad = (
                config.vad() if config.audio.input.turn_detection != old.audio.input.turn_detection else None
            )
            manual = config.audio.input.turn_detection is None
            await self.session.update(options, tools, vad, manual, built_in)
            self._led = (config, said)

    def _tools(self, config: RealtimeSession) -> list[AnyTool]:
        if config.tools is None:
            return list(self._service.tools)
        mine: list[AnyTool] = list(self._service.tools) if self._service.keep_tools else []
        return [*mine, *client_tools(config.tools)]

    async def _commit_audio(self) -> None:
        if not await self.session.end_turn():
            message = "no audio was appended since the last commit"
            raise RequestError(message, "input_audio_buffer_commit_empty")
        if self._config.audio.input.turn_detection is None:
            self._reporter.committed()

    async def _create_item(self, event: c.CreateItem) -> None:
        item = self._item(event.item)
        previous = self.items.accept(item, event.previous_item_id)
        try:
            await self._remember(item)
        except Exception:
            self.items.remove(item)
            raise
        for kind in ("added", "done"):
            self._wire.send(f"conversation.item.{kind}", previous_item_id=previous, item=item.to_json())

    def _item(self, new: c.NewItem) -> Item:
        """A client's item. Raises RequestError."""
        name = new.id or new_id("item")
        if new.type == "function_call_output":
            if new.call_id is None or new.output is None:
                raise RequestError("a function_call_output has call_id and output", param="item")
            return Item(new.type, {"call_id": new.call_id, "output": new.output}, name)
        if new.type == "function_call":
            if new.name is None or not isinstance(arguments_of(new.arguments), dict):
                raise RequestError("a function_call has name, and arguments as a JSON object", param="item")
            call_id = new.call_id or new_id("call")
            if self.session.history.call_of(call_id) is not None:
                raise RequestError(f"there is a call {call_id!r} already", "duplicate_item", "item.call_id")
            fields = {"call_id": call_id, "name": new.name, "arguments": new.arguments}
            return Item(new.type, fields, name)
        text, role = new.text(), new.role or "user"
        content = content_of(text, False) if role == "assistant" else {"type": "input_text", "text": text}
        return Item("message", {"role": role, "content": [content]}, name)

    async def _remember(self, item: Item) -> None:
        """Have the session take a client's item for part of the conversation. Raises RequestError."""
        fields = item.fields
        if item.kind == "function_call_output":
            try:
                self.session.result(fields["call_id"], as_json(fields["output"]))
            except (KeyError, ValueError) as error:
                raise RequestError(str(error.args[0]), "call_not_found", "item.call_id") from error
        elif item.kind == "function_call":
            arguments = arguments_of(fields["arguments"])
            item.message = self.session.called(fields["call_id"], fields["name"], arguments)
        elif fields["role"] == "system":
            await self._lead(self._config)
        else:
            before = self.items.message_after(item)
            item.message = self.session.write(fields["content"][0]["text"], fields["role"], before)

    def _truncate(self, event: c.TruncateItem) -> None:
        item = self.items.get(event.item_id)
        written = item.fields.get("content") and item.fields["content"][0]["type"] != "output_audio"
        if item.said is None or written:
            raise RequestError("only what the agent spoke can be cut short", "invalid_item", "item_id")
        if event.content_index:
            raise RequestError("a message has one part, 0", param="content_index")
        if item.status != "in_progress" and event.audio_end_ms > item.ms + 1:
            raise RequestError(
                f"the audio is {item.ms:.0f} ms long, not {event.audio_end_ms}", param="audio_end_ms"
            )
        heard = item.heard(event.audio_end_ms)
        self.session.correct(item.said, heard)
        if item.fields["content"]:
            item.fields["content"] = [content_of(heard, True)]
        kept = {"item_id": item.id, "content_index": event.content_index, "audio_end_ms": event.audio_end_ms}
        self._wire.send("conversation.item.truncated", **kept)

    def _forget(self, item: Item) -> None:
        """Take an item out, and what the session remembers of it."""
        self.items.remove(item)
        message = item.message if item.said is None else item.said.message
        call_id = item.fields.get("call_id")
        for each in self.session.history.messages:
            mine = each is message or (call_id and each.get("tool_call_id") == call_id)
            if mine or (call_id and any(call["id"] == call_id for call in each.get("tool_calls") or [])):
                self.session.forget(each)

    async def _create_response(self, params: c.ResponseParams) -> None:
        if params.conversation == "none":
            self._answer_aside(params)
            return
        if params.input is not None:
            raise RequestError("input is for a response with conversation 'none'", param="response.input")
        if self.responses.current is not None:
            name = self.responses.current.id
            raise RequestError(
                f"response {name} is not over", "conversation_already_has_active_response", "response"
            )
        other = {
            "instructions": params.instructions, "tools": params.tools, "tool_choice": params.tool_choice
        }  # fmt: skip
        changes = {name: value for name, value in other.items() if value is not None}
        await self._lead(self._config.model_copy(update=changes))
        wanted = params.wanted or self._config.output_modalities
        self._voice.silent = "audio" not in wanted
        self._reporter.asked = params
        self.session.respond()

    def _answer_aside(self, params: c.ResponseParams) -> None:
        """Begin a response outside of the conversation; it is written while the call goes on."""
        if len(self._asides) >= MOST_ASIDES:
            raise RequestError(f"{MOST_ASIDES} such responses are under way", "rate_limit_exceeded")
        if self._tasks is None:
            raise RequestError("the call is over", "server_error")
        options, name = self.session.options, new_id("resp")
        context = context_of(params, params.wanted or self._config.output_modalities)
        if context is None:
            context = told(self.session.history.messages)
        work = answer_aside(
            self._service.model, self._wire, params, name, system=options.system, effort=options.effort,
            history=context, timeout_s=options.model_timeout_s,
        )  # fmt: skip
        task = self._asides[name] = self._tasks.create_task(work)
        task.add_done_callback(lambda _: self._asides.pop(name))

    def _response_closed(self, response: Response) -> None:
        self._voice.silent = self._config.text_only
        self._closed.set()

    def _cancel(self, name: str | None) -> None:
        if name in self._asides:
            self._asides[name].cancel()
            return
        current = self.responses.current
        if current is None or name not in (None, current.id):
            raise RequestError(
                "there is no such response under way", "response_cancel_not_active", "response_id"
            )
        self.responses.cancelling = True
        self.session.cancel()
        if self.responses.current is current:
            self.responses.close("cancelled")

    def _played(self, frame: Int16, at: float) -> None:
        if self.played is not None:
            self.played(frame, at)
