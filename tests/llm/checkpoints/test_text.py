"""Dialogues as other families read them: their marks are ids, and nobody's words can make one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from stretto.llm.checkpoint import CheckpointError, save
from stretto.llm.checkpoints.chat import calls_of, own_template
from stretto.llm.checkpoints.llada import LLADA
from stretto.llm.checkpoints.llada2 import LLADA2
from stretto.llm.checkpoints.load import Checkpoint, load_checkpoint
from stretto.llm.checkpoints.nemotron import NEMOTRON
from stretto.llm.checkpoints.recipe import Recipe
from stretto.llm.checkpoints.sdar import SDAR
from stretto.llm.checkpoints.text import CheckpointTokenizer
from stretto.llm.tokenizer import byte_alphabet
from stretto.llm.transformer import Config, Transformer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

MARKS = {
    SDAR.family: ["<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<|MASK|>"],
    NEMOTRON.family: ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "<mask>"],
    LLADA.family: "<|startoftext|> <|start_header_id|> <|end_header_id|> <|eot_id|> <|mdm_mask|>".split(),
    LLADA2.family: ["<role>", "</role>", "<|role_end|>", "<tool_call>", "</tool_call>", "<|mask|>"],
}
MASKS = {"<|MASK|>", "<mask>", "<|mdm_mask|>", "<|mask|>"}


@dataclass
class Tool:
    name: str = "book"
    description: str = "Book a day."
    parameters: dict[str, Any] = field(
        default_factory=lambda: {"type": "object", "properties": {"day": {"type": "string"}}}
    )


DIALOGUE = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Book day 4."},
    {"role": "assistant", "content": "Wait.", "tool_calls": [{"name": "book", "arguments": {"day": "4 é"}}]},
    {"role": "tool", "content": '{"ok":true}'},
]


def byte_vocab() -> dict[str, int]:
    return {character: i for i, character in enumerate(byte_alphabet())}


def made(recipe: Recipe, folder: Path) -> Checkpoint:
    """A checkpoint of a family with a tokenizer of bytes and the family's marks, and no weights."""
    bpe = Tokenizer(models.BPE(byte_vocab(), []))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens(MARKS[recipe.family])
    bpe.save(str(folder / "tokenizer.json"))
    text = CheckpointTokenizer(folder)
    mask = next(text.marks[mark] for mark in MARKS[recipe.family] if mark in MASKS)
    stops = tuple(text.marks[mark] for mark in recipe.chat.stops if mark in text.marks)  # type: ignore[union-attr]
    with torch.device("meta"):
        model = Transformer(Config(vocab=300, layers=1))
    return Checkpoint(model, recipe, folder, mask, stops, recipe.block, 512, text)


@pytest.fixture
def sdar(tmp_path: Path) -> Checkpoint:
    return made(SDAR, tmp_path)


def shown(loaded: Checkpoint, ids: list[int]) -> str:
    return loaded.tokenizer.decode(ids)


def test_chatml(sdar: Checkpoint) -> None:
    text = shown(sdar, sdar.prompt(DIALOGUE))
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nBook day 4.<|im_end|>\n"
        "<|im_start|>assistant\nWait.\n<tool_call>\n"
        '{"name": "book", "arguments": {"day": "4 é"}}\n</tool_call><|im_end|>\n'
        '<|im_start|>user\n<tool_response>\n{"ok":true}\n</tool_response><|im_end|>\n'
        "<|im_start|>assistant\n"
    )


def test_tools_stand_in_the_system_text(sdar: Checkpoint) -> None:
    text = shown(sdar, sdar.prompt(DIALOGUE[1:2], [Tool()]))
    system = text.split("<|im_end|>")[0]
    listed = system.split("<tools>\n")[1].split("\n</tools>")[0]
    assert json.loads(listed)["function"] == {
        "name": "book",
        "description": "Book a day.",
        "parameters": Tool().parameters,
    }
    assert '{"name": <function-name>, "arguments": <args-json-object>}' in system


def test_llama_headers(tmp_path: Path) -> None:
    loaded = made(LLADA, tmp_path)
    assert shown(loaded, loaded.prompt(DIALOGUE[:2])) == (
        "<|startoftext|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBook day 4.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_ling_roles(tmp_path: Path) -> None:
    loaded = made(LLADA2, tmp_path)
    assert shown(loaded, loaded.prompt([*DIALOGUE[:2], DIALOGUE[3]])) == (
        "<role>SYSTEM</role>Be brief.\ndetailed thinking off<|role_end|>"
        "<role>HUMAN</role>Book day 4.<|role_end|>"
        '<role>OBSERVATION</role>\n<tool_response>\n{"ok":true}\n</tool_response><|role_end|>'
        "<role>ASSISTANT</role>"
    )


def test_nemotron_does_not_think_aloud(tmp_path: Path) -> None:
    loaded = made(NEMOTRON, tmp_path)
    assert shown(loaded, loaded.prompt(DIALOGUE)).endswith("<|im_start|>assistant\n<think></think>")


def test_calls_in_both_forms_are_the_same(sdar: Checkpoint) -> None:
    served = {"name": "book", "arguments": '{"day": "4 é"}'}
    other = {**DIALOGUE[2], "tool_calls": [{"id": "1", "type": "function", "function": served}]}
    assert calls_of(other) == calls_of(DIALOGUE[2])
    assert sdar.prompt([*DIALOGUE[:2], other]) == sdar.prompt(DIALOGUE[:3])


def test_a_role_that_there_is_not(sdar: Checkpoint) -> None:
    with pytest.raises(ValueError, match="role 'developer'"):
        sdar.prompt([{"role": "developer", "content": "x"}])


OWN = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}<|im_end|>"
    "{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% if add_generation_prompt %}<|im_start|>{% endif %}"
)


@pytest.mark.parametrize("place", ["chat_template.jinja", "tokenizer_config.json", "several"])
def test_the_template_of_the_checkpoint_goes_first(sdar: Checkpoint, place: str) -> None:
    if place == "chat_template.jinja":
        (sdar.folder / place).write_text(OWN)
    else:
        several = [{"name": "default", "template": "no"}, {"name": "tool_use", "template": OWN}]
        found = OWN if place == "tokenizer_config.json" else several
        (sdar.folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": found}))
    sdar = replace(sdar, template=own_template(sdar.folder))
    text = shown(sdar, sdar.prompt(DIALOGUE[1:3], [Tool()]))
    assert text.startswith("<|im_start|>user\nBook day 4.<|im_end|><|im_start|>assistant\nWait.<tool_call>{")
    assert '"arguments": {"day": "4 é"}}</tool_call><|im_end|>[{"type": "function"' in text


def test_a_template_without_tools_is_told_of_them_in_words(sdar: Checkpoint) -> None:
    bare = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
    sdar = replace(sdar, template=bare)
    text = shown(sdar, sdar.prompt(DIALOGUE, [Tool()]))
    assert "<tools>" in text and "<tool_call>\n" in text and "<|im_start|>tool\n" in text


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{% for m in messages %}{{ m.nothing.at.all }}{% endfor %}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% if %}",
    ],
)
def test_a_template_that_fails_says_so(sdar: Checkpoint, template: str) -> None:
    with pytest.raises(CheckpointError, match="chat template fails"):
        replace(sdar, template=template).prompt(DIALOGUE)


@pytest.mark.parametrize("held", ["{", "[]", '{"chat_template": [{}]}'])
def test_a_template_that_cannot_be_read(tmp_path: Path, held: str) -> None:
    assert own_template(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text(held)
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json cannot be read"):
        own_template(tmp_path)


FAMILIES = (SDAR, NEMOTRON, LLADA, LLADA2)


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda recipe: recipe.family)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return made(request.param, tmp_path_factory.mktemp("family"))


def with_marks(recipe: Recipe) -> st.SearchStrategy[str]:
    bits = [*MARKS[recipe.family], "<|", "|>", "im_", "<", ">", "\ue000", "\ue001", "é", " "]
    return st.lists(st.one_of(st.sampled_from(bits), st.text(max_size=3)), max_size=8).map("".join)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_words_make_a_mark(loaded: Checkpoint, data: st.DataObject) -> None:
    said = data.draw(with_marks(loaded.recipe))
    marks = set(loaded.tokenizer.marks.values())
    assert not marks & set(loaded.tokenizer.encode(said))
    spoken = [
        {"role": "system", "content": said},
        {"role": "user", "content": said},
        {"role": "assistant", "content": said, "tool_calls": [{"name": said, "arguments": {said: [said]}}]},
        {"role": "tool", "content": said},
    ]
    plain = [
        {"role": "system", "content": "x"},
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "x", "tool_calls": [{"name": "x", "arguments": {"x": ["x"]}}]},
        {"role": "tool", "content": "x"},
    ]
    found = loaded.prompt(spoken, [Tool(said, said, {"enum": [said]})])
    wanted = loaded.prompt(plain, [Tool("x", "x", {"enum": ["x"]})])
    assert [i for i in found if i in marks] == [i for i in wanted if i in marks]
    whole = said.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert shown(loaded, found).count(whole) >= 3 or not said


def test_a_mark_across_a_broken_one_is_broken_too(tmp_path: Path) -> None:
    bpe = Tokenizer(models.BPE(byte_vocab(), []))
    bpe.add_special_tokens(["<a>", "a>b"])
    bpe.save(str(tmp_path / "tokenizer.json"))
    tokenizer = CheckpointTokenizer(tmp_path)
    text, seal = tokenizer.sealed("<a>b")
    assert not set(tokenizer.encode_marked(text, seal)) & set(tokenizer.marks.values())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=("Cs",)), max_size=30))
def test_text_comes_back(loaded: Checkpoint, text: str) -> None:
    tokenizer = loaded.tokenizer
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert b"".join(tokenizer.token_bytes[i] or b"" for i in ids).decode() == text
    assert all(tokenizer.token_bytes[i] is None for i in tokenizer.marks.values())


def test_a_turn_ends_at_the_first_stop_and_holds_no_masks(sdar: Checkpoint) -> None:
    marks = sdar.tokenizer.marks
    call = '{"name": "book", "arguments": {"day": "4"}}'
    ids = [
        *sdar.tokenizer.encode("One moment."),
        sdar.mask,
        marks["<tool_call>"],
        *sdar.tokenizer.encode(call),
        marks["</tool_call>"],
        marks["<|im_end|>"],
        *sdar.tokenizer.encode("never said"),
    ]
    said = sdar.turn(ids)
    assert (said.words, said.broken) == ("One moment.", ())
    assert [(c.name, c.arguments) for c in said.calls] == [("book", {"day": "4"})]


def test_a_folder_without_a_tokenizer_says_so_when_text_is_needed(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer\.json, or vocab\.json and merges\.txt"):
        CheckpointTokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(CheckpointError, match="cannot be read"):
        CheckpointTokenizer(tmp_path)


def test_our_own_weights_go_with_our_own_tokenizer(tmp_path: Path) -> None:
    shape = Config(vocab=50, layers=1, width=16, heads=2, kv_heads=1, head_width=8, hidden=24)
    save(tmp_path, shape, Transformer(shape).state_dict())
    loaded = load_checkpoint(tmp_path)
    assert isinstance(loaded, Checkpoint)
    with pytest.raises(CheckpointError, match=r"stretto\.llm\.tokenizer"):
        loaded.prompt(DIALOGUE)


def test_a_slow_tokenizer_is_read_as_transformers_reads_it(tmp_path: Path) -> None:
    from transformers import Qwen2Tokenizer

    letters = byte_vocab()
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "w"), ("Ġw", "o"), ("1", "2")]
    vocab = letters | {a + b: len(letters) + i for i, (a, b) in enumerate(merges)}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(f"{a} {b}" for a, b in merges))
    added = {"<|im_start|>": 300, "<|im_end|>": 301, "<|mask|>": 302}
    table = {str(i): {"content": mark, "special": True} for mark, i in added.items()}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": table}))
    theirs = Qwen2Tokenizer(vocab=vocab, merges=merges)
    ours = CheckpointTokenizer(tmp_path)
    for text in ("hello world, hello!", "it's 1212\n\n hello", "  é́ hell", "<|im_end|>"):
        wanted = theirs(text, add_special_tokens=False).input_ids
        assert ours.encode(text) == wanted and ours.decode(wanted) == theirs.decode(wanted)
    assert ours.marks == added
    assert ours.encode_marked("<|im_start|>hello") == [300, vocab["hello"]]


def test_stops_and_the_template_are_found_in_the_folder(tmp_path: Path) -> None:
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 0, "num_attention_heads": 1}
    config = {"architectures": ["SDARForCausalLM"], "vocab_size": 300, "rms_norm_eps": 1e-6, "rope_theta": 1}
    described = {**shape, **config, "mask_token_id": 299, "eos_token_id": [7, 8]}
    made(SDAR, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(described))
    (tmp_path / "chat_template.jinja").write_text(OWN)
    weights = {"model.embed_tokens": (300, 8), "lm_head": (300, 8), "model.norm": (8,)}
    save_file({f"{n}.weight": torch.ones(s) for n, s in weights.items()}, tmp_path / "model.safetensors")
    loaded = load_checkpoint(tmp_path)
    assert isinstance(loaded, Checkpoint)
    assert loaded.template == OWN
    assert loaded.stops == (loaded.tokenizer.marks["<|im_end|>"], 7, 8, 151645, 151643)
