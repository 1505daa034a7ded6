"""A checkpoint from a folder or a hub name, whatever its family: weights, recipe, tokenizer, template."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from stretto.llm import checkpoint
from stretto.llm.checkpoint import CheckpointError
from stretto.llm.checkpoints.chat import Message, described, own_template, render, render_own
from stretto.llm.checkpoints.diffusion_gemma import DIFFUSION_GEMMA, DiffusionGemma
from stretto.llm.checkpoints.dream import DREAM
from stretto.llm.checkpoints.fast_dllm import FAST_DLLM
from stretto.llm.checkpoints.house import HOUSE, HOUSE_CONTEXT, is_house
from stretto.llm.checkpoints.llada import LLADA
from stretto.llm.checkpoints.llada2 import LLADA2
from stretto.llm.checkpoints.nemotron import NEMOTRON
from stretto.llm.checkpoints.recipe import Described, Recipe
from stretto.llm.checkpoints.sdar import SDAR
from stretto.llm.checkpoints.text import CheckpointTokenizer
from stretto.llm.checkpoints.tool_calls import Said, parse_turn
from stretto.llm.checkpoints.weights import read_weights
from stretto.llm.language_model import ToolSpec
from stretto.llm.tokenizer import MASK
from stretto.llm.transformer import Config, Transformer

RECIPES: tuple[Recipe, ...] = (NEMOTRON, LLADA, DREAM, FAST_DLLM, SDAR, LLADA2, DIFFUSION_GEMMA, HOUSE)
FETCHED = ["*.safetensors", "*.json", "*.jinja", "merges.txt"]
"""What is taken from a hub: data, and no code."""
_HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


@dataclass(frozen=True)
class Checkpoint:
    """A model that our transformer computes, and what it takes to talk to it.

    `mask`, `stops` and `block` are those of this checkpoint, `context` the tokens that its positions cover.
    """

    model: Transformer
    recipe: Recipe
    folder: Path
    mask: int
    stops: tuple[int, ...]
    block: int
    context: int
    text: CheckpointTokenizer | CheckpointError
    """The tokenizer, or why there is none."""
    template: str | None = None
    """The chat template that the checkpoint brings; None: the recipe's form."""

    @property
    def config(self) -> Config:
        """The shape of the model; `shifted` says that logits stand one place early."""
        return self.model.config

    @property
    def tokenizer(self) -> CheckpointTokenizer:
        """Raises CheckpointError where the folder has none, and for our own weights, which have theirs."""
        if isinstance(self.text, CheckpointError):
            raise self.text
        return self.text

    def prompt(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> list[int]:
        """Ids of a dialogue up to where the model answers; no text in it makes a special token.

        Raises CheckpointError without a tokenizer or with a template that fails, ValueError for a role that
        there is not.
        """
        tokenizer, chat = self.tokenizer, self.recipe.chat
        assert chat is not None  # all that have a tokenizer chat
        offered = [described(tool) for tool in tools]
        texts: dict[str, list[Any]] = {"messages": list(messages), "tools": offered}
        sealed, seal = tokenizer.sealed(texts)
        if self.template is None:
            text = render(chat, sealed["messages"], sealed["tools"])
        else:
            text = render_own(self.template, chat, sealed["messages"], sealed["tools"])
        return tokenizer.encode_marked(text, seal)

    def turn(self, ids: Sequence[int]) -> Said:
        """What the model wrote, up to the first stop."""
        end = next((i for i, token in enumerate(ids) if token in self.stops), len(ids))
        return parse_turn(self.tokenizer.decode(ids[:end], hidden={self.mask}))


def load_checkpoint(
    source: str | Path, device: str = "cpu", dtype: torch.dtype = torch.float32, block: int | None = None
) -> Checkpoint | DiffusionGemma:
    """A checkpoint from a folder, or from a hub by its name (`owner/name` or `owner/name@revision`).

    `block`: tokens of a block, for a checkpoint trained on others than config.json or its family says.
    Raises CheckpointError: no folder, no network, an unknown family, and all that `read_weights` finds wrong.
    """
    folder = fetch(source)
    described = _config(folder)
    recipe = recognise(described)
    if recipe is HOUSE:
        model = checkpoint.load(folder, device, dtype)
        own = CheckpointError("Stretto's own weights go with stretto.llm.tokenizer and stretto.llm.format")
        return Checkpoint(model, HOUSE, folder, MASK, HOUSE.stops, HOUSE.block, HOUSE_CONTEXT, own)
    if recipe.layout is None:
        return DiffusionGemma.load(folder, device, dtype)
    config = recipe.config(described)
    mask = _whole(described, "mask_token_id", recipe.mask)
    if not 0 <= mask < config.vocab:
        raise CheckpointError(
            f"the mask of {recipe.family} is {mask}, and the model has {config.vocab} tokens; set "
            "mask_token_id in config.json"
        )
    with torch.device("meta"):
        model = Transformer(config)
    read_weights(model, recipe.layout.names, folder, device, dtype)
    text = _tokenizer(folder)
    stops = _stops(recipe, described, folder, {} if isinstance(text, CheckpointError) else text.marks)
    block = block or _whole(described, recipe.block_key, recipe.block)
    context = recipe.context(described)
    model.eval().requires_grad_(False)
    template = own_template(folder)
    return Checkpoint(model, recipe, folder, mask, stops, block, context, text, template)


def recognise(described: Described) -> Recipe:
    """The family of a config.json. Raises CheckpointError, which names those that are known."""
    if is_house(described):
        return HOUSE
    for recipe in RECIPES:
        if recipe.knows(described):
            return recipe
    named = described.get("architectures") or described.get("model_type") or "nothing"
    raise CheckpointError(
        f"no known family: config.json names {named!r}; known are {', '.join(r.family for r in RECIPES)}"
    )


def family_of(folder: Path) -> Recipe:
    """The family of a checkpoint's folder. Raises CheckpointError."""
    return recognise(_config(folder))


def fetch(source: str | Path) -> Path:
    """The folder of a checkpoint; a hub name is downloaded (data only), or found in the hub's cache."""
    folder = Path(source)
    if folder.is_dir():
        return folder
    name = _HUB_NAME.fullmatch(str(source))
    if not name:
        raise CheckpointError(f"no folder {source}: give one with config.json, or a hub name (owner/name)")
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(name[1], revision=name[2], allow_patterns=FETCHED))
    except Exception as error:  # the client's and its transport's share no base
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{source} is no folder, and cannot be fetched from the hub ({reason}); download it elsewhere "
            "and give its folder"
        ) from error


def _config(folder: Path) -> Mapping[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} has no config.json: it is no checkpoint, or not a whole one")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be read ({error}); copy it again") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds no object; copy it again")
    return found


def _whole(described: Described, key: str, default: int | None) -> int:
    found = default if described.get(key) is None else described[key]
    if not isinstance(found, int):
        raise CheckpointError(f"config.json says {key}: {found!r}, which is no whole number")
    return found


def _tokenizer(folder: Path) -> CheckpointTokenizer | CheckpointError:
    try:
        return CheckpointTokenizer(folder)
    except CheckpointError as error:  # raised when text is needed: passes need none
        return error


def _stops(recipe: Recipe, described: Described, folder: Path, marks: Mapping[str, int]) -> tuple[int, ...]:
    """Ids that end a turn: the recipe's, those of the configs, and the template's marks by their text."""
    found = [described.get("eos_token_id"), described.get("pad_token_id")]
    if (path := folder / "generation_config.json").is_file():
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")).get("eos_token_id"))
        except (ValueError, AttributeError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}); copy it again") from error
    ids = [i for one in found for i in (one if isinstance(one, list) else [one]) if isinstance(i, int)]
    named = [marks[m] for m in (recipe.chat.stops if recipe.chat else ()) if m in marks]
    return tuple(dict.fromkeys([*named, *ids, *recipe.stops]))
