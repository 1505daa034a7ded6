"""The seam between a conversation and the model that writes its agent's turns.

`LanguageModel.open` starts one `Conversation`. The session tells it what the caller says (`hear`),
asks for a reply (`draft`), and says what was really heard of it (`commit`). Everything before
`commit` is speculation and changes nothing that cannot be rolled back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

Effort = Literal["minimal", "low", "medium", "high"]


class ToolSpec(Protocol):
    """What a model needs to know of a tool; `stretto.tools.ToolSpec` is one."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON schema of an object, with `properties` and `required`."""
        ...


@dataclass(frozen=True)
class ToolChoice:
    """Whether the agent's turns call tools: as the model decides, never, or each of them.

    `names`: the tools one of which is called where a call is `required`; None for any. What follows a tool's
    result is free, for a turn that must call again would never come to speak.
    """

    mode: Literal["auto", "none", "required"] = "auto"
    names: frozenset[str] | None = None

    def check(self, tools: Sequence[ToolSpec]) -> None:
        """Raises ValueError for a name that no tool has."""
        if unknown := (self.names or frozenset()) - {tool.name for tool in tools}:
            raise ValueError(f"there is no tool {', '.join(sorted(unknown))} that could be called")

    def forces(self, after_result: bool) -> bool:
        """Whether the next turn must call a tool, if there is one; `after_result`: one has just answered."""
        return self.mode == "required" and not after_result

    def among(self, tools: Sequence[ToolSpec], after_result: bool) -> list[ToolSpec]:
        """The tools that the next turn may call."""
        if self.mode == "none":
            return []
        free = self.names is None or not self.forces(after_result)
        return [tool for tool in tools if free or tool.name in (self.names or ())]


AUTO = ToolChoice()


class Busy(RuntimeError):
    """The model has as many requests as it takes; the message says when to try again."""


@dataclass(frozen=True)
class Steering:
    """What a reply keeps to at every step of being written; no filter behind it.

    `never`: phrases that it does not hold, in any case of letters. `required`: phrases that it holds, word by
    word. `most_seconds`: how long it may take to be spoken, estimated from its characters. `most_tokens`: of
    the whole turn. `schema`: the words are the JSON text of a value of this schema, nothing else. With a
    `temperature` above 0 tokens are drawn instead of chosen, the same ones for the same `seed`.
    """

    never: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    most_seconds: float | None = None
    most_tokens: int | None = None
    schema: Mapping[str, Any] | None = None
    temperature: float = 0.0
    seed: int = 0


FREE = Steering()


@dataclass(frozen=True)
class TurnSignal:
    """What the causal stream says after the words heard so far (probabilities, 0..1).

    `p_end`: a sentence ends behind the last word, whether or not the recogniser wrote a full stop there.
    """

    p_end: float
    p_say: float
    p_call: float


@dataclass(frozen=True)
class Call:
    """One tool call as the model wrote it; `arguments` fits the tool's schema."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Canvas:
    """The canvas after one denoising pass: a token's text a position, None where it is masked."""

    tokens: tuple[str | None, ...]
    forward: int


@dataclass(frozen=True)
class Settled:
    """Reply text that no later pass changes: the whole prefix so far."""

    text: str


@dataclass(frozen=True)
class Draft:
    """A finished reply: words to speak, calls to run, or words and then calls."""

    text: str
    calls: tuple[Call, ...] = ()
    forwards: int = 0
    revision: int = 0
    ms: float = 0.0
    tokens: int = 0
    segments: tuple[tuple[int, ...], ...] = field(default=(), repr=False)
    cut: bool = False
    """The words end where they do because there may be no more of them."""


class Conversation(Protocol):
    """One call's dialogue. Methods run the model off the event loop; one at a time."""

    async def hear(self, stable: str, tentative: str = "") -> TurnSignal:
        """Take the caller's words so far in this turn: appends, rolls back what changed.

        As the recogniser gives them: `tentative` ones may still change, and may begin with their space.
        """
        ...

    def draft(
        self,
        effort: Effort = "medium",
        deadline_ms: float | None = None,
        revise: Draft | None = None,
    ) -> AsyncIterator[Canvas | Settled | Draft]:
        """Write the agent's turn for what was heard so far; the last item is the `Draft`.

        `revise`: a draft for an earlier version of it, of which what still holds may be kept.
        """
        ...

    async def commit(self, draft: Draft, heard: str | None = None) -> None:
        """Put a draft into the history. `heard` is the part that was played (None: all).

        Called again with the same draft it replaces what the history holds of it, so a session
        commits when a turn begins and corrects when the caller cut it short. A draft without words and
        calls keeps what was heard and adds no answer to it.
        """
        ...

    async def say(self, text: str) -> None:
        """Put words into the history that the model did not write (a greeting, an apology)."""
        ...

    async def tool_result(self, call_id: str, content: str) -> None:
        """Add a result (JSON text) of a committed call, in the order of the calls."""
        ...

    async def restore(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Take these messages for the history, whatever it was: they were edited, or are of another call.

        Each has a `role`: user or assistant with `content`, assistant with `tool_calls` (`id`, `name`,
        `arguments`) as well, tool with `content`, `name` and `tool_call_id`. Drafts that were committed
        before are no more known; words that are being heard stay.
        """
        ...

    def close(self) -> None: ...


@runtime_checkable
class Prioritised(Protocol):
    """A conversation that shares its model with others, and can be told whether someone waits for it."""

    def prioritise(self, due: bool) -> None:
        """What is written from now on, or right now, is due; or it may only come to be needed."""
        ...


class LanguageModel(Protocol):
    """A model that holds conversations: the local engine, or a server behind a URL."""

    def open(self, system: str, tools: Sequence[ToolSpec], choice: ToolChoice = AUTO) -> Conversation:
        """A new conversation. Raises ValueError for a tool that cannot be offered or chosen."""
        ...


async def last_draft(
    conversation: Conversation, effort: Effort, show: Callable[[Canvas | Settled | Draft], None] | None = None
) -> Draft:
    """Run a draft to its end. Raises RuntimeError if the model gives none."""
    async with aclosing(conversation.draft(effort)) as items:  # type: ignore[type-var]
        async for item in items:
            if show:
                show(item)
            if isinstance(item, Draft):
                return item
    raise RuntimeError("the model ended without a draft")
