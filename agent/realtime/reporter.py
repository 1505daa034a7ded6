"""What happens in a session, as the protocol's server events."""

from __future__ import annotations

from collections.abc import Callable

from stretto.agent import events
from stretto.agent.history import History
from stretto.agent.realtime.client_events import ResponseParams
from stretto.agent.realtime.items import Items, user_audio
from stretto.agent.realtime.responses import Responses, Status
from stretto.agent.realtime.session_config import RealtimeSession
from stretto.agent.realtime.wire import Wire, new_id
from stretto.tools.tool import dump


class Reporter:
    """Give `happened` every event at once: `Session.watch`. `position_ms`: where in the audio a time (ms) is.

    `extra`: tell Stretto's own events beside the protocol's.
    """

    def __init__(
        self,
        wire: Wire,
        items: Items,
        responses: Responses,
        config: Callable[[], RealtimeSession],
        history: History,
        position_ms: Callable[[float], int],
        extra: bool = False,
    ) -> None:
        self.asked: ResponseParams | None = None
        """What the client wants of the response that comes next."""
        self.reply = 0
        """The session's newest reply that is heard of."""
        self._wire = wire
        self._items = items
        self._responses = responses
        self._config = config
        self._history = history
        self._position_ms = position_ms
        self._extra = extra
        self._open_item = new_id("item")
        self._committed: str | None = None
        self._speech_end_ms = 0.0
        self._round: set[str] = set()

    def happened(self, event: events.Event) -> None:
        """Tell the client what it wants to know of an event."""
        responses = self._responses
        match event:
            case events.CallerSpeaking(began_ms=began):
                self._speech_started(began)
            case events.CallerSilent(at_ms=at):
                self._timeout(at)
            case events.SoftEnd(speech_end_ms=end):
                self._speech_end_ms = end
            case events.DraftDropped(turn=turn, reopened=True):
                self._reopened(turn)
            case events.Committed(turn=turn, text=text):
                self._turn_over(turn, text)
            case events.TurnIgnored():
                self._turn_over(None, "")
            case events.Answering(reply=reply):
                self.reply = reply
                params, self.asked = self.asked, None
                responses.open(reply, params)
            case events.Answered(reply=reply, interrupted=cut):
                current = responses.current
                if current is not None and current.reply == reply:
                    made: Status = "completed" if current.output else "failed"
                    responses.close("cancelled" if cut else made, "no reply could be made")
            case events.ToolRound(call_ids=names):
                self._round = set(names)
            case events.ToolStarted():
                self._tool_started(event)
            case events.HangUp():
                responses.close("completed")
        if self._extra:
            fields = event.to_json()
            self._wire.send(f"stretto.{fields.pop('event')}", **fields)

    def committed(self) -> None:
        """The client ended a turn by hand: it learns at once what its item is called, later its words."""
        name, previous = self._next_item(), self._items.last
        item = user_audio(None, None, name)
        item.status = "in_progress"
        self._items.add(item)
        self._committed = name
        self._wire.send("input_audio_buffer.committed", item_id=name, previous_item_id=previous)
        self._wire.send("conversation.item.added", previous_item_id=previous, item=item.to_json())

    def _next_item(self) -> str:
        name, self._open_item = self._open_item, new_id("item")
        return name

    @property
    def _by_hand(self) -> bool:
        return self._config().audio.input.turn_detection is None

    def _speech_started(self, began_ms: float) -> None:
        if not self._by_hand:
            at = self._position_ms(began_ms)
            self._wire.send("input_audio_buffer.speech_started", audio_start_ms=at, item_id=self._open_item)

    def _timeout(self, at_ms: float) -> None:
        turns = self._config().audio.input.turn_detection
        end, idle = self._position_ms(at_ms), (turns and turns.idle_timeout_ms) or 0
        times = {"audio_start_ms": max(0, end - idle), "audio_end_ms": end}
        self._wire.send("input_audio_buffer.timeout_triggered", item_id=new_id("item"), **times)

    def _reopened(self, turn: int) -> None:
        """The caller goes on: what was taken for a whole turn is withdrawn."""
        self._responses.close("cancelled")
        if (item := self._items.of_turn(turn)) is not None:
            self._items.remove(item)
            self._wire.send("conversation.item.deleted", item_id=item.id)
        self._speech_started(self._speech_end_ms)

    def _turn_over(self, turn: int | None, text: str) -> None:
        """A caller's turn is there (None: it had no words)."""
        if self._committed is not None:
            item, self._committed = self._items.get(self._committed), None
        else:
            end, name = self._position_ms(self._speech_end_ms), self._next_item()
            self._wire.send("input_audio_buffer.speech_stopped", audio_end_ms=end, item_id=name)
            if turn is None:
                return
            previous, item = self._items.last, user_audio(turn, None, name)
            self._wire.send("input_audio_buffer.committed", item_id=name, previous_item_id=previous)
            self._items.add(item)
            self._wire.send("conversation.item.added", previous_item_id=previous, item=item.to_json())
        item.turn, item.status = turn, "completed"
        item.fields["content"] = [{"type": "input_audio", "transcript": text or None}]
        said = ("user", turn)
        messages = (m for m in reversed(self._history.messages) if (m["role"], m.get("turn")) == said)
        item.message = next(messages, None)
        previous = self._items.before(item)
        self._wire.send("conversation.item.done", previous_item_id=previous, item=item.to_json())
        if self._config().audio.input.transcription is not None:
            self._transcribed(item.id, text)

    def _transcribed(self, name: str, text: str) -> None:
        kind, key = "conversation.item.input_audio_transcription", {"item_id": name, "content_index": 0}
        if text:
            self._wire.send(f"{kind}.delta", **key, delta=text)
        usage = {"type": "duration", "seconds": 0}
        self._wire.send(f"{kind}.completed", **key, transcript=text, usage=usage)

    def _tool_started(self, event: events.ToolStarted) -> None:
        """A client's tool is the client's business from now on: when all are told, the response is over."""
        if event.name in {tool.name for tool in self._config().tools or ()}:
            self._responses.call(self.reply, event.call_id, event.name, dump(event.arguments))
        self._round.discard(event.call_id)
        current = self._responses.current
        if not self._round and current is not None and any(i.kind == "function_call" for i in current.output):
            self._responses.close("completed")
