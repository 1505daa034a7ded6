"""What the parts of one running call share: options, clock, model, voice, record, events."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stretto.agent import events
from stretto.agent.caller_id import CallInformation
from stretto.agent.canned import Canned
from stretto.agent.confirmation import Confirmation
from stretto.agent.history import History, told
from stretto.agent.patience import PatienceOptions
from stretto.agent.speculation import Speculation
from stretto.agent.timeline import CallRecord, ToolRecord, TurnRecord
from stretto.agent.turn import TurnOptions
from stretto.llm.language_model import AUTO, Conversation, Effort, ToolChoice

if TYPE_CHECKING:
    from stretto.agent.session import Session

log = logging.getLogger("stretto.agent")

EVENTS_KEPT = 2000
"""Events that wait for a slow reader at most; the oldest are dropped."""


@dataclass
class SessionOptions:
    """How a call is led. Times are milliseconds (`_ms`) or seconds (`_s`).

    `system`: the instructions of the model. `greeting`: spoken first; None for the canned one, "" for none.
    The silences and `p_end`: see `TurnOptions`. `speculate`: prepare replies at soft ends.
    `silence_prompt_s`: a caller silent for so long is asked once; after `silence_prompts` of them the
    agent says goodbye. `caller_gone_s`: the call ends when no frame arrived for so long.
    `tool_choice`: whether turns call tools; a `required` call is one of the session's own tools.
    `respond`: answer every turn of the caller; else only when told to (`Session.respond`). `interruptible`:
    a caller who speaks stops the agent. `one_moment_ms`: a tool that runs for longer is covered by a canned
    sentence, if the model said nothing itself. `rate`: of the agent's audio, Hz; None for the voice's own.
    `answer_keys`: what the caller enters by keys of the telephone is answered like words; else it is only
    told (`KeysEntered`). `keys_pause_s`: without another key for so long an entry is over.
    `observers` are told of every session when it picks up, before its first event.
    """

    system: str = "You are a helpful voice agent. Plain spoken English, short."
    greeting: str | None = None
    effort: Effort = "medium"
    commit_silence_ms: float = TurnOptions.commit_silence_ms
    doubtful_silence_ms: float = TurnOptions.doubtful_silence_ms
    unfinished_silence_ms: float = TurnOptions.unfinished_silence_ms
    soft_end_ms: float = TurnOptions.soft_end_ms
    use_p_end: bool = TurnOptions.use_p_end
    p_end_sure: float = TurnOptions.p_end_sure
    p_end_unfinished: float = TurnOptions.p_end_unfinished
    speculate: bool = True
    tool_choice: ToolChoice = AUTO
    respond: bool = True
    interruptible: bool = True
    draft_deadline_ms: float | None = None
    max_tool_rounds: int = 3
    one_moment_ms: float = 1500.0
    answer_keys: bool = True
    keys_pause_s: float = 2.0
    silence_prompt_s: float = 8.0
    silence_prompts: int = 3
    longest_call_s: float = 600.0
    caller_gone_s: float = 20.0
    recogniser_timeout_s: float = 10.0
    model_timeout_s: float = 15.0
    synthesiser_timeout_s: float = 15.0
    tool_timeout_s: float = 60.0
    rate: int | None = None
    canned: Canned = field(default_factory=Canned)
    observers: tuple[Callable[[Session], None], ...] = ()

    def __post_init__(self) -> None:
        for name in (
            "longest_call_s", "silence_prompt_s", "caller_gone_s", "model_timeout_s", "keys_pause_s"
        ):  # fmt: skip
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, is {getattr(self, name)}")
        if self.max_tool_rounds < 1:
            raise ValueError(f"max_tool_rounds must be at least 1, is {self.max_tool_rounds}")

    def patience(self) -> PatienceOptions:
        return PatienceOptions(self.silence_prompt_s, self.silence_prompts, self.longest_call_s)

    def turn_options(self) -> TurnOptions:
        """Raises `ValueError` where the silences contradict each other."""
        # Whoever raises the first silence alone means the others to grow with it.
        commit = self.commit_silence_ms
        doubtful = max(commit, self.doubtful_silence_ms)
        unfinished = max(doubtful, self.unfinished_silence_ms)
        return TurnOptions(
            soft_end_ms=self.soft_end_ms,
            commit_silence_ms=commit,
            doubtful_silence_ms=doubtful,
            unfinished_silence_ms=unfinished,
            use_p_end=self.use_p_end,
            p_end_sure=self.p_end_sure,
            p_end_unfinished=self.p_end_unfinished,
        )


class EventStream:
    """One reader's events; bounded, the oldest are dropped. Ends with the call."""

    def __init__(self) -> None:
        self._waiting: deque[events.Event] = deque(maxlen=EVENTS_KEPT)
        self._news = asyncio.Event()
        self._closed = False

    def put(self, event: events.Event) -> None:
        self._waiting.append(event)
        self._news.set()

    def close(self) -> None:
        self._closed = True
        self._news.set()

    def __aiter__(self) -> AsyncIterator[events.Event]:
        return self

    async def __anext__(self) -> events.Event:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()


@dataclass
class Call:
    """One running call. `over` is set with the reason in `record.ended`."""

    options: SessionOptions
    clock: Callable[[], float]
    conversation: Conversation
    history: History
    information: CallInformation = field(default_factory=CallInformation)
    record: CallRecord = field(default_factory=CallRecord)
    speculation: Speculation = field(default_factory=Speculation)
    confirmation: Confirmation = field(default_factory=Confirmation)
    """The question, if one is open, whether a tool shall run."""
    question: tuple[str, dict[str, Any] | None] = ("", None)
    """Its words, and the history's message with them."""
    started: float = 0.0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    readers: list[EventStream] = field(default_factory=list)
    watchers: list[Callable[[events.Event], None]] = field(default_factory=list)
    model: asyncio.Lock = field(default_factory=asyncio.Lock)
    """A conversation does one thing at a time."""
    replies: int = 0
    """Begun so far."""
    edited: bool = False
    """The history was changed behind the conversation's back: see `catch_up`."""
    handed_over: dict[str, ToolRecord] = field(default_factory=dict)
    """Calls by their id whose results somebody else owes."""
    _failed: set[tuple[str, str]] = field(default_factory=set)

    def ms(self, at: float | None = None) -> float:
        """Milliseconds from the start of the call to `at` on the clock (now, if not given)."""
        return ((self.clock() if at is None else at) - self.started) * 1000

    def emit(self, event: events.Event) -> None:
        for reader in self.readers:
            reader.put(event)
        for tell in self.watchers:
            try:
                tell(event)
            except Exception:  # whoever watches must not break the call
                log.exception("a watcher failed at %s", type(event).__name__)

    def fail(self, part: str, error: BaseException | str, turn: TurnRecord | None = None) -> None:
        """Report that a part failed; the call goes on. The same failure is told once a turn."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        message = error if isinstance(error, str) else f"{type(error).__name__}: {error}".rstrip(": ")
        if turn is not None:
            turn.failures.append(f"{part}: {message}")
        elif (part, message) in self._failed:
            return
        self._failed.add((part, message))
        log.warning("%s failed: %s", part, message)
        self.emit(events.Failure(at_ms=self.ms(), part=part, message=message))

    @contextlib.asynccontextmanager
    async def thinking(self) -> AsyncIterator[None]:
        """The conversation for oneself, for a limited time. Raises TimeoutError."""
        async with self.model, asyncio.timeout(self.options.model_timeout_s):
            yield

    async def catch_up(self, open_turn: int | None = None) -> None:
        """Have the conversation take the history as it was edited; hold `model` meanwhile.

        Words of the turn `open_turn` are left out: the model hears them next.
        """
        if self.edited:
            self.edited = False
            await self.conversation.restore(told(self.history.messages, open_turn))

    def end(self, reason: str) -> None:
        """End the call; the first reason counts."""
        if self.over.is_set():
            return
        self.record.ended = reason
        if reason == "transfer":
            self.emit(events.Transfer(at_ms=self.ms()))
        self.emit(events.HangUp(at_ms=self.ms(), reason=reason))
        self.over.set()

    @contextlib.contextmanager
    def reporting(self, part: str, turn: TurnRecord | None = None) -> Iterator[None]:
        """Turn an exception of a part into a reported failure and go on after the block."""
        try:
            yield
        except Exception as error:
            self.fail(part, error, turn)
