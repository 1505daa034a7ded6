"""What teaches a small model to copy: drills, renamed dialogues, and a circuit it starts from."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
import torch
from stretto.llm.format import dialogue_segments
from stretto.llm.rope import rope_table
from stretto.llm.tokenizer import embedded_tokenizer
from stretto.llm.train.augment import LOWERED, heard_dialogue, lowered
from stretto.llm.train.circuits import seed_copying
from stretto.llm.train.drills import Drills
from stretto.llm.train.renaming import capitalised, made_up, names_of, rename
from stretto.llm.transformer import Config, Transformer

SHAPE = Config(vocab=400, layers=2, width=128, heads=4, kv_heads=2, head_width=64, hidden=64, qkv_bias=True)


def attention(model: Transformer, ids: list[int], layer: int) -> torch.Tensor:
    """Weights (heads, tokens, tokens) with which a layer reads."""
    n = len(ids)
    cos, sin = rope_table(torch.arange(n), SHAPE.head_width, SHAPE.rope_theta)
    x = model.embed_tokens(torch.tensor(ids))[None]
    for block in model.blocks[: layer + 1]:
        q, k, v = block.self_attn.project(block.input_layernorm(x), cos, sin)
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        scores = q @ k.transpose(-1, -2) / SHAPE.head_width**0.5
        weights = scores.masked_fill(~torch.ones(n, n, dtype=torch.bool).tril(), -1e9).softmax(-1)
        x = block.feed_forward(x + block.self_attn.merge(weights @ v))
    return weights[0]


def test_the_circuit_looks_back_one_token_and_finds_what_followed_before() -> None:
    torch.manual_seed(0)
    model = Transformer(SHAPE).eval().requires_grad_(False)
    model.embed_tokens.weight.normal_(std=0.07)  # as loud as a seeded embedding
    ids = [10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 13]
    plain = attention(model, ids, 1)[0, -1, 4]
    seed_copying(model)
    before = attention(model, ids, 0)[0]
    assert all(before[i, i - 1] > 0.9 for i in range(1, len(ids)))
    found = attention(model, ids, 1)[0, -1]
    assert int(found.argmax()) == 4, "behind the earlier 13 stands 14, at place 4"
    assert found[4] > 2 * plain


def test_a_circuit_needs_its_shape() -> None:
    with pytest.raises(ValueError, match="qkv_bias"):
        seed_copying(Transformer(replace(SHAPE, qkv_bias=False)))


def test_drills_read_back_and_call_what_was_said() -> None:
    tokenizer = embedded_tokenizer()
    drills = Drills(tokenizer)
    for seed in range(40):
        dialogue = drills.dialogue(random.Random(seed))
        said = " ".join(m["content"] for m in dialogue["messages"] if m["role"] == "user")
        (call,) = [c for m in dialogue["messages"] for c in m.get("tool_calls", [])]
        assert call["arguments"] and all(v in said for v in call["arguments"].values())
        assert {t["name"] for t in dialogue["tools"]} >= {call["name"]}
        assert dialogue_segments(tokenizer, dialogue)
    assert drills.dialogue(random.Random(1)) != drills.dialogue(random.Random(2))


def test_renaming_changes_a_name_everywhere_and_nothing_else() -> None:
    arguments = {"restaurant": "The Copper Kettle", "date": "Friday", "people": 4}
    dialogue = {
        "tools": [],
        "messages": [
            {"role": "system", "content": "The Copper city."},
            {"role": "user", "content": "Four at the copper kettle on Friday."},
            {"role": "assistant", "content": None, "tool_calls": [{"name": "book", "arguments": arguments}]},
            {"role": "tool", "name": "book", "content": '{"booked":"The Copper Kettle","people":4}'},
            {"role": "assistant", "content": "The Copper Kettle, Friday, for 4."},
        ],
    }
    words, tails = ["Mix", "Aven", "Tra"], ["ol", "ish"]
    renamed = [rename(dialogue, names_of(dialogue), words, tails, random.Random(seed)) for seed in range(8)]
    assert any(d != dialogue for d in renamed)
    for one in renamed:
        call = one["messages"][2]["tool_calls"][0]["arguments"]
        name = call["restaurant"]
        assert (call["date"], call["people"]) == ("Friday", 4)
        assert one["messages"][1]["content"] == f"Four at {name.lower()} on Friday."
        assert json.loads(one["messages"][3]["content"]) == {"booked": name, "people": 4}
        assert one["messages"][4]["content"] == f"{name}, Friday, for 4."
        assert one["messages"][0] == dialogue["messages"][0]
    assert dialogue["messages"][1]["content"] == "Four at the copper kettle on Friday."


def test_a_renamed_result_stays_what_it_is_and_a_value_what_was_said() -> None:
    call = {
        "name": "find",
        "arguments": {"title": "True Grit", "artist": "Frank Ocean", "note": "Nothing Said"},
    }
    messages = [
        {"role": "system", "content": ""},
        {"role": "user", "content": "Is 'True Grit' Frank Ocean's?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {
            "role": "tool",
            "name": "find",
            "content": '{"grit":true,"title":"True Grit","by":"x\\nFrank Ocean"}',
        },
    ]
    dialogue = {"tools": [], "messages": messages}
    names = {"true", "grit", "frank", "ocean"}
    changed = 0
    for seed in range(10):
        one = rename(dialogue, names, ["Mix", "Aven"], ["ol"], random.Random(seed))["messages"]
        title, artist, note = one[2]["tool_calls"][0]["arguments"].values()
        assert note == "Nothing Said" and one[1]["content"] == f"Is '{title}' {artist}'s?"
        assert json.loads(one[3]["content"]) == {"grit": True, "title": title, "by": f"x\n{artist}"}
        changed += title != "True Grit"
    assert changed > 5
    calls = [{"name": "find", "arguments": {"title": "true"}}]
    odd = [messages[0], {"role": "user", "content": "the truest one"}, {**messages[2], "tool_calls": calls}]
    assert rename({"messages": odd}, names, ["Mix"], ["ol"], random.Random(0))["messages"] == odd


def test_names_of_any_source_are_capitals_that_the_caller_has_said() -> None:
    arguments = {
        "city": "San Jose",
        "genre": "Jazz",
        "artist": "Nobody Said",
        "when": "2019-03-02",
        "seat": "Row",
    }
    properties = {
        **{key: {"type": "string"} for key in arguments},
        "genre": {"type": "string", "enum": ["Jazz", "Rock"]},
        "when": {"type": "string", "format": "date"},
    }
    tools = [{"name": "find", "description": "In a city.", "parameters": {"properties": properties}}]
    messages = [
        {"role": "system", "content": "A city line."},
        {"role": "user", "content": "Jazz in San Jose City on 2019-03-02, a Row seat. Not the last row."},
        {"role": "assistant", "content": None, "tool_calls": [{"name": "find", "arguments": arguments}]},
    ]
    assert capitalised({"tools": tools, "messages": messages}) == {"san", "jose"}


def test_a_caller_in_lower_case_is_copied_in_lower_case_but_a_result_is_not() -> None:
    found = {"name": "find", "arguments": {"area": "Old Town", "stars": 4}}
    booked = {"name": "book", "arguments": {"hotel": "Blue Lion", "guest": "Nora Ray"}}
    messages = [
        {"role": "system", "content": "Old Town's own."},
        {"role": "user", "content": "In Old Town.", "pauses": [["In Old.", "Town."]]},
        {"role": "assistant", "content": None, "tool_calls": [found], "own": {"tool_calls": [found]}},
        {"role": "tool", "name": "find", "content": '{"hotels":["Blue Lion"]}'},
        {"role": "assistant", "content": "In Old Town there is the Blue Lion."},
        {"role": "user", "content": "Then book it for Nora Ray."},
        {"role": "assistant", "content": "The Blue Lion for Nora Ray.", "tool_calls": [booked]},
    ]
    dialogue = {"tools": [], "messages": messages}
    before = json.dumps(dialogue)
    small = lowered(dialogue)["messages"]
    assert json.dumps(dialogue) == before
    assert [m["content"] for m in small] == [
        "Old Town's own.",
        "in old town.",
        None,
        '{"hotels":["Blue Lion"]}',
        "In old town there is the Blue Lion.",
        "then book it for nora ray.",
        "The Blue Lion for nora ray.",
    ]
    assert small[1]["pauses"] == [["in old.", "town."]]
    assert small[2]["tool_calls"][0] == {"name": "find", "arguments": {"area": "old town", "stars": 4}}
    assert small[2]["own"]["tool_calls"] == small[2]["tool_calls"]
    assert small[6]["tool_calls"][0]["arguments"] == {"hotel": "Blue Lion", "guest": "nora ray"}


def test_some_callers_are_written_in_lower_case() -> None:
    dialogue = {"messages": [{"role": "user", "content": "Nora Ray"}]}
    words = [heard_dialogue(dialogue, random.Random(n))["messages"][0]["content"] for n in range(400)]
    assert 0.6 * LOWERED < sum(w == w.lower() for w in words) / 400 < 1.4 * LOWERED


def test_made_up_words_are_of_one_and_of_several_pieces() -> None:
    drills = Drills(embedded_tokenizer())
    rng = random.Random(0)
    words = [made_up(drills.words, drills.tails, rng).capitalize() for _ in range(400)]
    pieces = [len(embedded_tokenizer().encode(f" {word}")) for word in words]
    assert {1, 2, 3, 4} <= set(pieces) and 1.8 < sum(pieces) / len(pieces) < 3.2
