"""What a reply must keep to holds for every sampler, however little the model knows."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import torch
from stretto.llm.constraints.schema import UnsupportedSchema
from stretto.llm.constraints.speech import Unsayable
from stretto.llm.language_model import FREE, Draft, Effort, Settled, Steering
from stretto.llm.local import SAMPLERS, LocalModel
from stretto.llm.tokenizer import embedded_tokenizer
from stretto.llm.transformer import Config, Transformer


def tiny(seed: int) -> Transformer:
    torch.manual_seed(seed)
    config = Config(
        embedded_tokenizer().size, layers=2, width=32, heads=2, kv_heads=1, head_width=16, hidden=48
    )
    model = Transformer(config).eval().requires_grad_(False)
    model.embed_tokens.weight.mul_(20.0)  # sure of itself, though it knows nothing
    return model


@pytest.fixture(scope="module", params=SAMPLERS)
def model(request: pytest.FixtureRequest) -> Iterator[LocalModel]:
    model = LocalModel(model=tiny(0), context=256, sampler=request.param)
    yield model
    model.close()


def written(
    model: LocalModel, steering: Steering, words: str = "A table", effort: Effort = "medium"
) -> tuple[Draft, list[str]]:
    async def work() -> tuple[Draft, list[str]]:
        conversation = model.open("Be brief.", [])
        try:
            await conversation.hear(words)
            items: list[Any] = [item async for item in conversation.draft(effort, steering=steering)]
            return items[-1], [item.text for item in items if isinstance(item, Settled)]
        finally:
            conversation.close()

    return asyncio.run(work())


def test_what_is_never_said_is_not_said(model: LocalModel) -> None:
    for words in ("A table", "Hello", "Why not"):
        plain = written(model, FREE, words)[0].text
        found = [word.lower() for word in re.findall(r"[a-zA-Z]{2,}", plain)][:4]
        assert found, "there is something to forbid"
        draft, settled = written(model, Steering(never=tuple(found)), words)
        said = re.findall(r"[a-z]+", draft.text.lower())
        assert draft.text and not set(found) & set(said)
        assert all(draft.text.startswith(text.rstrip("\ufffd")) for text in settled)


@pytest.mark.parametrize("effort", ["minimal", "high"])
def test_what_is_required_is_said(model: LocalModel, effort: Effort) -> None:
    phrases = ("this call is recorded", "twelve euros")
    draft, _ = written(model, Steering(required=phrases), effort=effort)
    assert all(phrase in draft.text or phrase.capitalize() in draft.text for phrase in phrases)
    both = Steering(required=("no refunds",), never=("please",), most_tokens=30)
    draft, _ = written(model, both, effort=effort)
    assert "o refunds" in draft.text and draft.tokens <= 32


def test_a_reply_of_a_schema_is_a_value_of_it(model: LocalModel) -> None:
    schemas: list[dict[str, Any]] = [
        {
            "type": "object",
            "properties": {"day": {"enum": ["Monday", "Friday"]}, "people": {"type": "integer"}},
            "required": ["day"],
        },
        {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}}, "required": ["name"]},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
        {"type": "string", "pattern": "^[A-Z]{3}$"},
    ]
    for schema in schemas:
        draft, settled = written(model, Steering(schema=schema))
        jsonschema.validate(json.loads(draft.text), schema)
        assert settled == [draft.text]


def test_no_more_tokens_than_are_asked_for(model: LocalModel) -> None:
    for most in (3, 20):
        draft, _ = written(model, Steering(most_tokens=most))
        assert draft.tokens <= most + 2, "the mark before and the end"
    long = written(model, FREE)[0]
    short = written(model, Steering(most_tokens=4))[0]
    assert short.cut or long.tokens <= 6


def test_a_reply_is_spoken_within_its_time(model: LocalModel) -> None:
    draft, settled = written(model, Steering(most_seconds=1.0))
    whole = written(model, FREE)[0].text
    assert len(draft.text) <= 15 and (draft.cut or len(whole) <= 15)
    assert all(draft.text.startswith(text) for text in settled)


def test_drawn_by_chance_the_same_seed_draws_the_same(model: LocalModel) -> None:
    drawn = {seed: written(model, Steering(temperature=5.0, seed=seed))[0].text for seed in (1, 2, 3)}
    again = {seed: written(model, Steering(temperature=5.0, seed=seed))[0].text for seed in (1, 2, 3)}
    assert drawn == again and len(set(drawn.values())) > 1


def test_what_no_reply_can_keep_to_is_refused_before_it_is_begun(model: LocalModel) -> None:
    with pytest.raises(Unsayable):
        written(model, Steering(never=("yes",), required=("yes we can",)))
    with pytest.raises(Unsayable, match="at most 5"):
        written(model, Steering(required=("one two three four five six seven",), most_tokens=5))
    with pytest.raises(UnsupportedSchema):
        written(model, Steering(schema={"type": "object", "not": {}}))


def test_chance_is_the_same_whoever_writes() -> None:
    """The causal mode checks what it would have drawn itself: the words are the same."""
    transformer, steering = tiny(3), Steering(temperature=2.0, seed=5)
    said = []
    for sampler in ("causal", "verified"):
        model = LocalModel(model=transformer, context=256, sampler=sampler)  # type: ignore[arg-type]
        said.append([written(model, steering, words)[0].text for words in ("Hello", "A table for two")])
        model.close()
    assert said[0] == said[1]
