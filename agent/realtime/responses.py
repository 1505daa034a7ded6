"""Responses as the protocol tells them: opened, filled with what is said and called, and closed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from stretto.agent.realtime.audio_format import Encoder
from stretto.agent.realtime.client_events import ResponseParams
from stretto.agent.realtime.items import Item, Items, agent_message, content_of, part_of
from stretto.agent.realtime.session_config import RealtimeSession
from stretto.agent.realtime.wire import Wire, new_id
from stretto.agent.speaking import Utterance
from stretto.audio.synthesise import Chunk

Status = Literal["completed", "cancelled", "failed"]


@dataclass
class Response:
    """One response; `reply`: the number of the session's reply that it is."""

    reply: int
    params: ResponseParams = field(default_factory=ResponseParams)
    id: str = field(default_factory=lambda: new_id("resp"))
    output: list[Item] = field(default_factory=list)
    said: int = 0
    """Utterances that are told to their end."""
    closes_after: int | None = None
    """All calls are told: it is over when so many utterances are."""


@dataclass
class _Speech:
    """An utterance on its way."""

    response: Response
    item: Item
    index: int
    encoder: Encoder
    spoken: bool


class Responses:
    """At most one is open; others may wait. Takes the agent's speech from the session (an `Outlet`)."""

    def __init__(
        self,
        wire: Wire,
        items: Items,
        session: Callable[[], RealtimeSession],
        rate: int,
        conversation: str,
        closed: Callable[[Response], None],
    ) -> None:
        self.current: Response | None = None
        self.cancelling = False
        """The client, not the caller, cuts short what is being said."""
        self._wire = wire
        self._items = items
        self._session = session
        self._rate = rate
        self._conversation = conversation
        self._closed = closed
        self._speech: _Speech | None = None
        self._waiting: deque[tuple[int, ResponseParams | None]] = deque()

    # ------------------------------------------------------------------ their life

    def open(self, reply: int, params: ResponseParams | None = None) -> Response:
        """Begin one; an open one was cut short."""
        if self.current is not None:
            self.close("cancelled")
        self.current = Response(reply, params or ResponseParams())
        self._wire.send("response.created", response=self._json(self.current, "in_progress"))
        return self.current

    def open_next(self, reply: int, params: ResponseParams | None = None) -> None:
        """Begin one when the open one is over."""
        if self.current is None:
            self.open(reply, params)
        else:
            self._waiting.append((reply, params))

    def answered(self, reply: int, cut: bool) -> None:
        """The reply is over, whatever became of it."""
        current = self.current
        if current is not None and current.reply == reply:
            made: Status = "completed" if current.output else "failed"
            self.close("cancelled" if cut else made, "no reply could be made")
        else:
            self._waiting = deque(each for each in self._waiting if each[0] != reply)

    def calls_told(self, reply: int, words: int) -> None:
        """The client has all of a reply's calls; with the end of its words it is over."""
        response = self.of(reply)
        response.closes_after = words
        self._close_if_whole(response)

    def _close_if_whole(self, response: Response) -> None:
        after = response.closes_after
        if response is self.current and after is not None and response.said >= after:
            self.close("completed")

    def close(self, status: Status, message: str = "") -> None:
        """End the open one, if there is one."""
        response, self.current = self.current, None
        if response is None:
            return
        details: dict[str, Any] = {"type": status}
        if status == "cancelled":
            details["reason"] = "client_cancelled" if self.cancelling else "turn_detected"
        elif status == "failed":
            details["error"] = {"type": "server_error", "code": "server_error", "message": message}
        self.cancelling = False
        shown = self._json(response, status)
        self._wire.send("response.done", response={**shown, "status_details": details})
        self._closed(response)
        if self._waiting and self.current is None:
            self.open(*self._waiting.popleft())

    def of(self, reply: int) -> Response:
        """The open one of a reply; opened, if it is not."""
        if self.current is not None and self.current.reply == reply:
            return self.current
        params = next((params for each, params in self._waiting if each == reply), None)
        self._waiting = deque(each for each in self._waiting if each[0] != reply)
        return self.open(reply, params)

    def _json(self, response: Response, status: str) -> dict[str, Any]:
        session = self._session()
        output = session.audio.output
        return {
            "id": response.id,
            "object": "realtime.response",
            "conversation_id": self._conversation,
            "status": status,
            "status_details": None,
            "output": [item.to_json() for item in response.output],
            "output_modalities": response.params.wanted or session.output_modalities,
            "audio": {"output": {"format": output.format.model_dump(exclude_none=True)}},
            "max_output_tokens": session.max_output_tokens,
            "metadata": response.params.metadata,
            "usage": None,
        }

    # ------------------------------------------------------------------ what is in them

    def add(self, reply: int, item: Item) -> tuple[Response, int]:
        """Put an item into a reply's response and into the conversation; tells the client."""
        response = self.of(reply)
        index = len(response.output)
        response.output.append(item)
        previous = self._items.add(item)
        shown = item.to_json()
        self._wire.send("response.output_item.added", response_id=response.id, output_index=index, item=shown)
        self._wire.send("conversation.item.added", previous_item_id=previous, item=shown)
        return response, index

    def done(self, response: Response, index: int, item: Item) -> None:
        """An item is whole."""
        shown = item.to_json()
        self._wire.send("response.output_item.done", response_id=response.id, output_index=index, item=shown)
        self._wire.send("conversation.item.done", previous_item_id=self._items.before(item), item=shown)

    def call(self, reply: int, call_id: str, name: str, arguments: str) -> Item:
        """A call that the client is to run."""
        fields = {"call_id": call_id, "name": name, "arguments": ""}
        item = Item("function_call", fields, status="in_progress")
        response, index = self.add(reply, item)
        key = {"response_id": response.id, "item_id": item.id, "output_index": index, "call_id": call_id}
        kind = "response.function_call_arguments"
        self._wire.send(f"{kind}.delta", **key, delta=arguments)
        self._wire.send(f"{kind}.done", **key, name=name, arguments=arguments)
        item.fields["arguments"], item.status = arguments, "completed"
        self.done(response, index, item)
        return item

    # ------------------------------------------------------------------ what is said (Outlet)

    def begin(self, utterance: Utterance) -> None:
        """Words are to be heard from now on."""
        item = agent_message()
        item.said = utterance
        response, index = self.add(utterance.reply, item)
        session = self._session()
        spoken = "audio" in (response.params.wanted or session.output_modalities)
        encoder = Encoder(session.audio.output.format.type, self._rate)
        self._speech = _Speech(response, item, index, encoder, spoken)
        key = self._key(self._speech)
        self._wire.send("response.content_part.added", **key, part=part_of("", spoken))
        kind = "output_audio_transcript" if spoken else "output_text"
        self._wire.send(f"response.{kind}.delta", **key, delta=utterance.text)

    def audio(self, utterance: Utterance, chunk: Chunk) -> None:
        """A piece of its sound."""
        speech = self._speech
        if speech is None or speech.item.said is not utterance or not speech.spoken:
            return
        if speech.response is not self.current:
            return  # it was closed: nothing more of it may come
        speech.item.hear(chunk.words, chunk.start, len(chunk.pcm) * 1000 / chunk.rate)
        for text in speech.encoder.feed(chunk.pcm):
            self._wire.send("response.output_audio.delta", **self._key(speech), delta=text)

    def end(self, utterance: Utterance) -> None:
        """Nothing more of it comes."""
        speech = self._speech
        if speech is None or speech.item.said is not utterance:
            return
        self._speech = None
        response, item = speech.response, speech.item
        item.fields["content"] = [content_of(utterance.text, speech.spoken)]
        item.status = "incomplete" if utterance.stopped or utterance.error is not None else "completed"
        if response is not self.current:
            item.status = "incomplete"
            return
        key = self._key(speech)
        if speech.spoken:
            for text in speech.encoder.flush() if not utterance.stopped else ():
                self._wire.send("response.output_audio.delta", **key, delta=text)
            self._wire.send("response.output_audio.done", **key)
            self._wire.send("response.output_audio_transcript.done", **key, transcript=utterance.text)
        else:
            self._wire.send("response.output_text.done", **key, text=utterance.text)
        part = part_of(utterance.text, speech.spoken)
        self._wire.send("response.content_part.done", **key, part=part)
        self.done(response, speech.index, item)
        response.said += 1
        if utterance.stopped:
            self.close("cancelled")
        elif utterance.last:
            self.close("completed")
        else:
            self._close_if_whole(response)

    def _key(self, speech: _Speech) -> dict[str, Any]:
        place = {"output_index": speech.index, "content_index": 0}
        return {"response_id": speech.response.id, "item_id": speech.item.id, **place}
