"""The local model behind the `LanguageModel` seam: weights, one worker thread, its conversations."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import torch
from stretto.llm.checkpoint import EMBEDDED, CheckpointError, load
from stretto.llm.constraints.tokens import TokenVocabulary
from stretto.llm.conversation import LocalConversation
from stretto.llm.language_model import ToolSpec
from stretto.llm.tokenizer import CALL, END, PADS, Tokenizer, embedded_tokenizer
from stretto.llm.transformer import Transformer


class LocalModel:
    """Weights that hold conversations in this process.

    All forwards run in one worker thread, never on the event loop. `context`: tokens a conversation
    keeps; older turns are dropped, the system text and the tools stay. Raises CheckpointError.
    """

    def __init__(
        self, folder: str | Path | None = None, *, device: str = "cpu", threads: int = 1, context: int = 1024,
        model: Transformer | None = None, tokenizer: Tokenizer | None = None,
    ) -> None:  # fmt: skip
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_num_threads(threads)
        self.transformer = (model if model is not None else load(folder or EMBEDDED, device)).requires_grad_(
            False
        )
        self.tokenizer = tokenizer or embedded_tokenizer()
        if (vocab := self.transformer.config.vocab) != self.tokenizer.size:
            raise CheckpointError(
                f"the model has {vocab} tokens, the tokenizer {self.tokenizer.size}: they do not belong "
                "together; use a model that was trained with this tokenizer"
            )
        self.context = context
        self.worker = ThreadPoolExecutor(1, "stretto-llm")

    @cached_property
    def vocabulary(self) -> TokenVocabulary:
        """Token texts as the grammar needs them."""
        return TokenVocabulary(self.tokenizer.token_bytes, END, CALL, PADS)

    def open(self, system: str, tools: Sequence[ToolSpec]) -> LocalConversation:
        """A new conversation. Raises UnsupportedSchema for a tool whose schema no grammar covers."""
        for tool in tools:
            self.vocabulary.compile(tool.parameters)
        return LocalConversation(self, system, tools)

    def close(self) -> None:
        """Stop the worker thread; a forward that runs is finished first."""
        self.worker.shutdown(wait=True, cancel_futures=True)
