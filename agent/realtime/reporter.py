"""What happens in a session, as the protocol's server events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stretto.agent import events
from stretto.agent.history import History
from stretto.agent.realtime.client_events import ResponseParams
from stretto.agent.realtime.items import Items, user_audio
from stretto.agent.realtime.responses import Responses
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
        forget: Callable[[dict[str, Any]], None],
        position_ms: Callable[[float], int],
        extra: bool = False,
    ) -> None:
        self.asked: ResponseParams | None = None
        """What the client wants of the response that comes next."""
        self.clearing = False
        """The client throws away what was not committed: a turn that ends so is none."""
        self._wire = wire
        self._items = items
        self._responses = responses
        self._config = config
        self._history = history
        self._forget = forget
        self._position_ms = position_ms
        self._extra = extra
        self._open_item = new_id("item")
        self._committed: str | None = None
        self._speech_began_ms = self._speech_end_ms = 0.0
        self._not_heard = ""
        self._round: events.ToolRound | None = None

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
            case events.Failure(part="recogniser", message=message):
                self._not_heard = message
            case events.Answering(reply=reply):
                params, self.asked = self.asked, None
                # Where the caller does not interrupt, the answer before is still being spoken.
                (responses.open_next if self._undisturbed else responses.open)(reply, params)
            case events.Answered(reply=reply, interrupted=cut):
                responses.answered(reply, cut)
            case events.ToolRound():
                self._round = event
            case events.ToolHandedOver():
                self._handed_over(event)
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

    @property
    def _undisturbed(self) -> bool:
        turns = self._config().audio.input.turn_detection
        return turns is not None and turns.interrupt_response is False

    def _speech_started(self, began_ms: float) -> None:
        self._speech_began_ms, self._not_heard = began_ms, ""
        if not self._by_hand:
            at = self._position_ms(began_ms)
            self._wire.send("input_audio_buffer.speech_started", audio_start_ms=at, item_id=self._open_item)

    def _timeout(self, at_ms: float) -> None:
        """Nobody spoke for a while: that counts as a turn without words, which the agent answers."""
        turns = self._config().audio.input.turn_detection
        end, idle = self._position_ms(at_ms), (turns and turns.idle_timeout_ms) or 0
        times = {"audio_start_ms": max(0, end - idle), "audio_end_ms": end}
        name, previous = self._next_item(), self._items.last
        self._wire.send("input_audio_buffer.timeout_triggered", item_id=name, **times)
        self._wire.send("input_audio_buffer.committed", item_id=name, previous_item_id=previous)
        item = user_audio(None, None, name)
        self._items.add(item)
        for kind in ("added", "done"):
            self._wire.send(f"conversation.item.{kind}", previous_item_id=previous, item=item.to_json())

    def _reopened(self, turn: int) -> None:
        """The caller goes on: what was taken for a whole turn is withdrawn."""
        if not self._undisturbed:  # else the open one answers an earlier turn
            self._responses.close("cancelled")
        if (item := self._items.of_turn(turn)) is not None:
            self._items.remove(item)
            self._wire.send("conversation.item.deleted", item_id=item.id)
        self._speech_started(self._speech_end_ms)

    def _turn_over(self, turn: int | None, text: str) -> None:
        """A caller's turn is there (None: it had no words)."""
        said = (m for m in reversed(self._history.messages) if (m["role"], m.get("turn")) == ("user", turn))
        message = next(said, None)
        if self._committed is not None:
            found, self._committed = self._items.find(self._committed), None
            if found is None:  # deleted before its words were known
                if message is not None:
                    self._forget(message)
                return
            item = found
        elif self.clearing:
            self._next_item()
            return
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
        item.message = message
        previous = self._items.before(item)
        self._wire.send("conversation.item.done", previous_item_id=previous, item=item.to_json())
        if self._config().audio.input.transcription is not None:
            self._transcribed(item.id, text)

    def _transcribed(self, name: str, text: str) -> None:
        kind, key = "conversation.item.input_audio_transcription", {"item_id": name, "content_index": 0}
        if text:
            self._wire.send(f"{kind}.delta", **key, delta=text)
        elif self._not_heard:
            error = {"type": "server_error", "code": "server_error", "message": self._not_heard}
            self._wire.send(f"{kind}.failed", **key, error=error)
            return
        seconds = max(0.0, self._speech_end_ms - self._speech_began_ms) / 1000
        usage = {"type": "duration", "seconds": round(seconds, 3)}
        self._wire.send(f"{kind}.completed", **key, transcript=text, usage=usage)

    def _handed_over(self, event: events.ToolHandedOver) -> None:
        """A client's tool is the client's business from now on: when all are told, the response is over."""
        self._responses.call(event.reply, event.call_id, event.name, dump(event.arguments))
        made = self._round
        if made is not None and event.call_id == made.call_ids[-1] and not made.goes_on:
            self._responses.calls_told(event.reply, int(made.words))
