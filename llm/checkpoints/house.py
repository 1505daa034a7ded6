"""Our own weights: `llm/checkpoint.py` reads them, `llm/format.py` writes their dialogues."""

from __future__ import annotations

from stretto.llm.checkpoints.recipe import Described, Recipe
from stretto.llm.tokenizer import END, MASK

HOUSE = Recipe(
    family="Stretto",
    model_type="stretto",
    architectures=(),
    attention="causal+canvas",
    mask=MASK,
    stops=(END,),
    block=32,
)
HOUSE_CONTEXT = 2048
"""Twice the tokens of the longest dialogues that it was trained on."""


def is_house(described: Described) -> bool:
    """Whether config.json is of our own format, which names no architecture."""
    return "format_version" in described and "model" in described
