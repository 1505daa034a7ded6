"""Other families' checkpoints behind the `LanguageModel` seam, and the choice between them and our own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from stretto.llm.cache import ContextOverflow
from stretto.llm.chat_history import ChatHistory
from stretto.llm.checkpoint import find_device
from stretto.llm.checkpoint_conversation import CheckpointConversation
from stretto.llm.checkpoints.diffusion_gemma import DiffusionGemma
from stretto.llm.checkpoints.house import HOUSE
from stretto.llm.checkpoints.load import Checkpoint, family_of, fetch, load_checkpoint
from stretto.llm.generation import Generation, Step, generate
from stretto.llm.language_model import AUTO, Effort, Steering, ToolChoice, ToolSpec
from stretto.llm.samplers import CANVAS_SAMPLERS, EFFORT, DraftAndVerify, Sampler, Threshold

if TYPE_CHECKING:
    from stretto.llm import local

LONGEST = 512
"""Tokens of an answer where a request does not say."""
LONGEST_WHOLE = 128
"""The same of a model that computes all of them in every pass; LLaDA is published with so many."""


def open_model(
    source: str | Path | None,
    *,
    device: str = "cpu",
    threads: int = 1,
    sampler: local.Sampler | None = None,
) -> local.LocalModel | CheckpointModel:
    """The model of a folder or of a hub name (`owner/name`), whatever its family; None: the embedded one.

    `sampler`: by its name; None: the one that suits the family. Raises CheckpointError, and ValueError for a
    sampler that the family cannot write with.
    """
    from stretto.llm.local import LocalModel, fast_dtype

    folder = None if source is None else fetch(source)
    if folder is None or family_of(folder) is HOUSE:
        return LocalModel(folder, device=device, threads=threads, sampler=sampler or "verified")
    device = find_device(device)
    torch.set_num_threads(threads)
    return CheckpointModel(load_checkpoint(folder, device, fast_dtype(device)), sampler)


class CheckpointModel:
    """A checkpoint that holds conversations. One thread writes one draft after the other.

    `context`: tokens of the longest prompt, which leaves room for an answer of `longest`. `most_forwards`:
    passes after which a draft is brought to its end. Raises CheckpointError for a checkpoint without a
    tokenizer, ValueError for a sampler that the family cannot write with.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | DiffusionGemma,
        sampler: local.Sampler | None = None,
        longest: int | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.tokenizer = DialogueTokenizer(checkpoint)
        family, kind = checkpoint.recipe.family, checkpoint.recipe.attention
        if isinstance(checkpoint, DiffusionGemma):
            if sampler is not None:
                raise ValueError(f"{family} writes with its own sampler: leave the sampler out")
            self.sampler = "own"
        else:
            self.sampler = sampler or ("verified" if kind == "causal+canvas" else "threshold")
            if self.sampler in ("verified", "causal") and kind != "causal+canvas":
                known = ", ".join(CANVAS_SAMPLERS)
                raise ValueError(f"{family} has no causal mode to write with: choose one of {known}")
        self.longest = longest or min(
            LONGEST_WHOLE if kind == "full" else LONGEST, max(checkpoint.context // 2, 1)
        )
        self.context = checkpoint.context - self.longest
        self.most_forwards: int | None = None
        self.worker = ThreadPoolExecutor(1, "stretto-checkpoint")
        self.closed = threading.Event()

    def open(
        self, system: str, tools: Sequence[ToolSpec], choice: ToolChoice = AUTO
    ) -> CheckpointConversation:
        """A new conversation. Raises ValueError for a tool that cannot be offered, and for a choice that no
        tool fits."""
        choice.check(tools)
        if tools and isinstance(self.checkpoint, DiffusionGemma):
            raise ValueError(f"{self.checkpoint.recipe.family} is offered no tools here: leave them out")
        return CheckpointConversation(self, system, tools, choice)

    def close(self) -> None:
        """Give up what is being written; a pass that runs is finished first."""
        self.closed.set()
        self.worker.shutdown()

    def write(
        self,
        prompt: list[int],
        effort: Effort,
        steering: Steering,
        late: Callable[[], bool],
        watch: Callable[[Step], None],
    ) -> Generation:
        """An answer to a prompt, in this thread. Raises ContextOverflow."""
        if len(prompt) > self.context:
            raise ContextOverflow(
                f"this model reads at most {self.context} tokens, and the dialogue has {len(prompt)}: "
                "leave out its oldest messages, or tools that are not needed"
            )
        most, limit = steering.most_tokens or self.longest, self.most_forwards
        (found,) = generate(
            self.checkpoint,
            [prompt],
            self._sampler(effort),
            max_tokens=min(most, self.checkpoint.context - len(prompt)),
            block=1 if self.sampler == "causal" else None,
            temperature=steering.temperature,
            seed=steering.seed,
            on_pass=watch,
            late=lambda passes: late() or (limit is not None and passes >= limit),
        )
        return found

    def _sampler(self, effort: Effort) -> Sampler | None:
        budget = EFFORT[effort]
        match self.sampler:
            case "own":
                return None
            case "causal":
                return DraftAndVerify()
            case "verified":
                return DraftAndVerify(least=budget.accept)
            case "fixed" | "threshold" | "entropy" | "remasking":
                made = CANVAS_SAMPLERS[self.sampler](budget)
                # The surest first, wherever it stands: so these families are published.
                return replace(made, order="any") if isinstance(made, Threshold) else made
        raise AssertionError(self.sampler)


@dataclass(frozen=True)
class DialogueTokenizer:
    """Text and dialogues as a checkpoint reads them."""

    checkpoint: Checkpoint | DiffusionGemma

    def __post_init__(self) -> None:
        self.checkpoint.tokenizer  # noqa: B018 - raises where there is none

    def encode(self, text: str) -> list[int]:
        """Ids of anybody's text."""
        return self.checkpoint.tokenizer.encode(text)

    def prompt_tokens(
        self, system: str, history: Sequence[Mapping[str, Any]], tools: Sequence[ToolSpec]
    ) -> int:
        """Tokens of a dialogue (in the form of `Conversation.restore`) up to where the model answers."""
        told = ChatHistory(system, sys.maxsize, sys.maxsize)
        told.restore(history)
        return len(self.checkpoint.prompt(told.messages(), tools))

    def text(self, ids: Sequence[int]) -> str:
        """What ids of an answer say, up to the first stop."""
        return self.checkpoint.tokenizer.decode(self._before_stop(ids), {self._mask})

    def shown(self, ids: Sequence[int]) -> tuple[str | None, ...]:
        """Each token's text up to the first stop, None where it is open."""
        decode = self.checkpoint.tokenizer.decode
        return tuple(None if i == self._mask else decode([i]) for i in self._before_stop(ids))

    def _before_stop(self, ids: Sequence[int]) -> Sequence[int]:
        return ids[: next((n for n, i in enumerate(ids) if i in self.checkpoint.stops), len(ids))]

    @property
    def _mask(self) -> int:
        return self.checkpoint.mask if isinstance(self.checkpoint, Checkpoint) else -1
