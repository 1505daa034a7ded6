"""DiffusionGemma (Google): Gemma 4 with a canvas, computed by `transformers`, not here.

Its canvases hold any token, not masks (uniform diffusion); sampler and self-conditioning are in the library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from stretto.llm.checkpoint import CheckpointError
from stretto.llm.checkpoints.chat import Chat, Message, own_template, render_own
from stretto.llm.checkpoints.recipe import Recipe
from stretto.llm.checkpoints.text import CheckpointTokenizer
from stretto.llm.language_model import ToolSpec
from torch import Tensor

NEEDED = "transformers>=5.11"

DIFFUSION_GEMMA = Recipe(
    family="DiffusionGemma",
    model_type="diffusion_gemma",
    architectures=("DiffusionGemmaForBlockDiffusion",),
    attention="causal+canvas",
    mask=None,
    stops=(1, 106, 50),
    block=256,
    block_key="canvas_length",
)


@dataclass(frozen=True)
class Generated:
    """Tokens behind the prompt up to the first stop, and how many came of one pass."""

    tokens: list[int]
    tokens_per_forward: float


Show = Callable[[list[int]], None]


class _Drafts:
    """A streamer of `transformers` that hands on each canvas after every pass, and when it is done."""

    def __init__(self, show: Show | None, finished: Show | None) -> None:
        self._show, self._finished = show, finished
        self._begun = False

    def put(self, value: Tensor) -> None:
        if self._begun and self._finished is not None:  # the first is the prompt
            self._finished(value[0].tolist())
        self._begun = True

    def put_draft(self, value: Tensor) -> None:
        if self._show is not None:
            self._show(value[0].tolist())

    def end(self) -> None:
        """Nothing is held back."""


def _from_library(name: str) -> Any:
    try:
        return getattr(import_module("transformers"), name)
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"DiffusionGemma is computed by transformers, which is missing or too old here ({error}); "
            f"install it: pip install '{NEEDED}'"
        ) from error


@dataclass(frozen=True)
class DiffusionGemma:
    """The library's model of a folder. `processor` (template, tokenizer) is the library's, too."""

    model: Any
    folder: Path
    recipe: Recipe = DIFFUSION_GEMMA

    @classmethod
    def load(cls, folder: Path, device: str, dtype: torch.dtype) -> DiffusionGemma:
        """Raises CheckpointError where the library is missing or too old, or cannot read the folder."""
        kind = _from_library("DiffusionGemmaForBlockDiffusion")
        try:
            model = kind.from_pretrained(folder, dtype=dtype, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(f"transformers cannot load {folder} ({reason}); copy it again") from error
        return cls(model.to(device).eval().requires_grad_(False), folder)

    @property
    def stops(self) -> tuple[int, ...]:
        """Ids that end a turn."""
        named = self.model.generation_config.eos_token_id
        ids = named if isinstance(named, list) else [named]
        return tuple(i for i in ids if isinstance(i, int)) or self.recipe.stops

    @property
    def block(self) -> int:
        """Tokens of a canvas."""
        return int(self.model.config.canvas_length)

    @property
    def context(self) -> int:
        """Tokens that its positions cover."""
        return int(self.model.config.get_text_config().max_position_embeddings)

    @cached_property
    def tokenizer(self) -> CheckpointTokenizer:
        """Raises CheckpointError where the folder has none."""
        return CheckpointTokenizer(self.folder)

    def prompt(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> list[int]:
        """Ids of a dialogue by the folder's template; no text in it makes a special token.

        Raises CheckpointError without a template, ValueError for tools: their marks are not read back here.
        """
        if tools:
            raise ValueError("DiffusionGemma is offered no tools here: leave them out")
        template = own_template(self.folder)
        if template is None:
            raise CheckpointError(f"{self.folder} has no chat template; copy chat_template.jinja, too")
        sealed, seal = self.tokenizer.sealed(list(messages))
        chat = Chat(lambda role, text: text, "", opening="<bos>")
        return self.tokenizer.encode_marked(render_own(template, chat, sealed, ()), seal)

    def processor(self) -> Any:
        """The library's processor: chat template and tokenizer. Raises CheckpointError."""
        try:
            return _from_library("AutoProcessor").from_pretrained(self.folder, local_files_only=True)
        except (OSError, ValueError, ImportError) as error:
            raise CheckpointError(
                f"transformers finds no processor in {self.folder} ({error}); copy its tokenizer files, too"
            ) from error

    @torch.inference_mode()
    def generate(
        self,
        prompt: list[int],
        most_tokens: int,
        *,
        steps: int | None = None,
        seed: int = 0,
        draft: list[int] | None = None,
        show: Show | None = None,
        finished: Show | None = None,
    ) -> Generated:
        """Write behind a prompt, canvas by canvas. `draft`: what the first one starts from (warm start).

        `show` sees the canvas after each pass, `finished` each one that is done.
        """
        device = self.model.device
        options: dict[str, Any] = {"max_new_tokens": most_tokens, "eos_token_id": list(self.stops)}
        if steps is not None:
            options["max_denoising_steps"] = steps
        if draft is not None:
            if len(draft) != self.block:
                raise ValueError(f"a draft of {len(draft)} tokens does not fill a canvas of {self.block}")
            options["decoder_input_ids"] = torch.tensor([draft], device=device)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            out = self.model.generate(
                torch.tensor([prompt], device=device), streamer=_Drafts(show, finished), **options
            )
        tokens = out.sequences[0, len(prompt) :].tolist()
        end = next((i for i, token in enumerate(tokens) if token in self.stops), len(tokens))
        return Generated(tokens[: min(end, most_tokens)], float(out.tokens_per_forward[0]))
