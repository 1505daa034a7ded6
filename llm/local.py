"""The local model behind the `LanguageModel` seam: weights, one worker thread, its conversations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import torch
from stretto.llm.causal import CausalWriting
from stretto.llm.checkpoint import EMBEDDED, CheckpointError, find_device, load
from stretto.llm.constraints.call_path import LONGEST_CALL
from stretto.llm.constraints.tokens import TokenVocabulary
from stretto.llm.conversation import LocalConversation
from stretto.llm.engine import Engine, Limits
from stretto.llm.language_model import AUTO, Steering, ToolChoice, ToolSpec
from stretto.llm.packed import pack
from stretto.llm.samplers import CANVAS_SAMPLERS, Budget
from stretto.llm.spans import Pieces
from stretto.llm.tokenizer import CALL, END, MASK, PADS, Tokenizer, embedded_tokenizer
from stretto.llm.transformer import Transformer
from stretto.llm.verify import VerifiedWriting
from stretto.llm.writing import Emit, Writing

Sampler = Literal["verified", "threshold", "entropy", "remasking", "fixed", "causal"]
"""By canvases that the causal mode checks, by what canvases are sure of (`CANVAS_SAMPLERS`), by the token."""
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)


def fast_dtype(device: str) -> torch.dtype:
    """bfloat16 where the processor multiplies it (half the bytes of weights a pass fetches), else float32."""
    if device != "cpu":
        return torch.bfloat16
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if any(able.get(k) for k in ("avx512_bf16", "amx_bf16", "bf16")) else torch.float32


class LocalModel:
    """Weights that hold conversations in this process.

    All forwards run in the thread of its engine, never on the event loop. `context`: tokens a conversation
    keeps; older turns are dropped, the system text and the tools stay. `sampler`: see `Sampler`. `limits`: of
    the engine. Raises CheckpointError.
    """

    def __init__(
        self, folder: str | Path | None = None, *, device: str = "cpu", threads: int = 1, context: int = 1024,
        model: Transformer | None = None, tokenizer: Tokenizer | None = None, sampler: Sampler = "verified",
        limits: Limits | None = None,
    ) -> None:  # fmt: skip
        device = find_device(device)
        torch.set_num_threads(threads)
        if model is None:
            model = pack(load(folder or EMBEDDED, device, fast_dtype(device)))
        self.transformer = model.requires_grad_(False)
        self.tokenizer = tokenizer or embedded_tokenizer()
        if (vocab := self.transformer.config.vocab) != self.tokenizer.size:
            raise CheckpointError(
                f"the model has {vocab} tokens, the tokenizer {self.tokenizer.size}: they do not belong "
                "together; use a model that was trained with this tokenizer"
            )
        self.context = context
        self.sampler: Sampler = sampler
        self.engine = Engine(self.transformer, MASK, limits)

    @cached_property
    def vocabulary(self) -> TokenVocabulary:
        """Token texts as the grammar needs them."""
        return TokenVocabulary(self.tokenizer.token_bytes, END, CALL, PADS)

    @cached_property
    def pieces(self) -> Pieces:
        """Token texts as the prior for free strings needs them."""
        return Pieces(self.tokenizer.token_bytes)

    @cached_property
    def stops(self) -> list[int]:
        """Tokens that end a sentence and hold nothing else."""
        table = self.tokenizer.token_bytes
        return [i for i, text in enumerate(table) if text and not text.strip(b".?!")]

    def open(self, system: str, tools: Sequence[ToolSpec], choice: ToolChoice = AUTO) -> LocalConversation:
        """A new conversation. Raises UnsupportedSchema for a tool whose schema no grammar covers, ValueError
        for a choice that no tool fits."""
        choice.check(tools)
        for tool in tools:
            self.vocabulary.compile(tool.parameters, longest=LONGEST_CALL)
        return LocalConversation(self, system, tools, choice)

    def writer(
        self,
        conversation: LocalConversation,
        budget: Budget,
        deadline: float | None,
        emit: Emit,
        revise: Sequence[int],
        pinned: int,
        steering: Steering,
    ) -> Writing:
        """What writes a turn, by this model's sampler."""
        if self.sampler == "verified":
            return VerifiedWriting(conversation, budget, deadline, emit, revise, pinned, None, steering)
        if self.sampler == "causal":
            return CausalWriting(conversation, budget, deadline, emit, revise, pinned, None, steering)
        sampler = CANVAS_SAMPLERS[self.sampler](budget)
        return Writing(conversation, budget, deadline, emit, revise, pinned, sampler, steering)

    def close(self) -> None:
        """Stop the engine's thread; a pass that runs is finished first."""
        self.engine.close()
