"""DiffusionGemma is computed by `transformers`: a tiny random one loads, writes canvases, and shows them."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from stretto.llm.checkpoint import CheckpointError
from stretto.llm.checkpoint_model import CheckpointModel
from stretto.llm.checkpoints.diffusion_gemma import DiffusionGemma
from stretto.llm.checkpoints.load import load_checkpoint
from stretto.llm.format import Spec
from stretto.llm.generation import Step, generate
from stretto.llm.language_model import Canvas, Draft, Settled
from stretto.llm.samplers import FixedSteps, Threshold
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import DiffusionGemmaConfig, DiffusionGemmaForBlockDiffusion, DiffusionGemmaTextConfig

TEXT: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "moe_intermediate_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_global_key_value_heads": 1,
    "head_dim": 8,
    "global_head_dim": 8,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"],
    "num_experts": 4,
    "top_k_experts": 2,
}
EYES = {
    "model_type": "gemma4_vision",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "position_embedding_size": 16,
}
GENERATION = {
    "eos_token_id": [1, 50],
    "pad_token_id": 0,
    "max_denoising_steps": 3,
    "t_min": 0.4,
    "t_max": 0.8,
    "stability_threshold": 1,
    "confidence_threshold": 0.005,
    "sampler_config": {"_cls_name": "EntropyBoundSamplerConfig", "entropy_bound": 0.1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("gemma")
    words = DiffusionGemmaTextConfig(**TEXT)
    config = DiffusionGemmaConfig(text_config=words, vision_config=EYES, canvas_length=8)
    model = DiffusionGemmaForBlockDiffusion(config)
    model.save_pretrained(path)
    (path / "generation_config.json").write_text(json.dumps(GENERATION))
    return path


@pytest.fixture(scope="module")
def gemma(folder: Path) -> DiffusionGemma:
    found = load_checkpoint(folder)
    assert isinstance(found, DiffusionGemma)
    return found


def test_it_has_the_logits_of_the_library(folder: Path, gemma: DiffusionGemma) -> None:
    theirs = DiffusionGemmaForBlockDiffusion.from_pretrained(folder).eval()
    tokens, canvas = torch.tensor([[3, 4, 5]]), torch.tensor([[9, 8, 7, 6, 5, 4, 3, 2]])
    with torch.no_grad():
        wanted = theirs(input_ids=tokens, decoder_input_ids=canvas).logits
        found = gemma.model(input_ids=tokens, decoder_input_ids=canvas).logits
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert (gemma.recipe.mask, gemma.block, gemma.stops) == (None, 8, (1, 50))


def test_it_writes_canvas_by_canvas_and_shows_each_pass(gemma: DiffusionGemma) -> None:
    drafts: list[list[int]] = []
    found = gemma.generate([3, 4, 5], 16, show=drafts.append, seed=1)
    assert 2 <= len(drafts) <= 6 and {len(draft) for draft in drafts} == {8}
    assert len(found.tokens) <= 16 and not set(found.tokens) & set(gemma.stops)
    assert found.tokens_per_forward > 0
    before = torch.random.get_rng_state()
    assert gemma.generate([3, 4, 5], 16, seed=1).tokens == found.tokens
    assert torch.random.get_rng_state().equal(before)
    assert len(gemma.generate([3, 4, 5], 16, steps=1, show=drafts.append).tokens) <= 16


def test_a_draft_is_where_the_first_canvas_starts(gemma: DiffusionGemma) -> None:
    start = [9, 8, 7, 6, 5, 4, 3, 2]
    runs = [gemma.generate([3, 4, 5], 8, steps=1, draft=draft).tokens for draft in (start, start[::-1])]
    assert runs[0] != runs[1]
    with pytest.raises(ValueError, match="a draft of 3 tokens does not fill a canvas of 8"):
        gemma.generate([3], 8, draft=[1, 2, 3])


def test_generation_is_left_to_the_library(gemma: DiffusionGemma) -> None:
    steps: list[Step] = []
    prompts = [[3, 4, 5], [7, 8]]
    found = generate(gemma, prompts, max_tokens=16, seed=1, on_pass=steps.append)
    for number, (prompt, one) in enumerate(zip(prompts, found, strict=True)):
        assert one.ids == gemma.generate(prompt, 16, seed=1).tokens
        mine = [step for step in steps if step.prompt == number]
        canvases = 1 + mine[-1].settled // 8
        assert one.forwards == len(mine) + canvases, "before each canvas what is new is read"
        assert mine[-1].ids[: len(one.ids)] == one.ids
    (few,) = generate(gemma, [[3, 4, 5]], FixedSteps(1), max_tokens=8, seed=1)
    assert few.forwards == 2
    (hurried,) = generate(gemma, [[3, 4, 5]], max_tokens=16, late=lambda passes: True)
    assert hurried.forwards == 2
    with pytest.raises(ValueError, match="its own sampler"):
        generate(gemma, [[3]], Threshold(0.5), max_tokens=8)


TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|turn>{{ m.role }} {{ m.content }}<turn|>{% endfor %}"
    "<|turn>model "
)


def test_a_conversation_in_words(gemma: DiffusionGemma, tmp_path: Path) -> None:
    letters = " abcdefghijklmnopqrstuvwxyz."
    vocab = {"Ġ" if letter == " " else letter: i + 2 for i, letter in enumerate(letters)}
    bpe = Tokenizer(models.BPE(vocab, []))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens(["<bos>", "<|turn>", "<turn|>"])
    bpe.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    model = CheckpointModel(replace(gemma, folder=tmp_path), longest=16)
    with pytest.raises(ValueError, match="offered no tools"):
        model.open("", [Spec("book", "", {"type": "object"})])
    with pytest.raises(ValueError, match="its own sampler"):
        CheckpointModel(replace(gemma, folder=tmp_path), "threshold")

    async def talk() -> None:
        conversation = model.open("be brief.", [])
        await conversation.hear("hello<turn|>")
        items = [item async for item in conversation.draft()]
        draft = items[-1]
        assert isinstance(draft, Draft) and draft.forwards >= 2 and draft.tokens <= 16
        assert any(isinstance(item, Canvas) for item in items)
        settled = [item.text for item in items if isinstance(item, Settled)]
        assert all(draft.text.startswith(text) for text in settled)

    asyncio.run(talk())
    model.close()
    marks = model.checkpoint.tokenizer.marks
    ids = model.checkpoint.prompt([{"role": "user", "content": "hello<turn|>"}])
    assert ids[:2] == [marks["<bos>"], marks["<|turn>"]] and ids.count(marks["<turn|>"]) == 1


def test_without_a_template_it_cannot_chat(gemma: DiffusionGemma, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(Tokenizer(models.BPE()).to_str())
    with pytest.raises(CheckpointError, match="no chat template"):
        replace(gemma, folder=tmp_path).prompt([{"role": "user", "content": "hello"}])
    with pytest.raises(CheckpointError, match="no tokenizer"):
        CheckpointModel(gemma)


def test_without_the_library_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(CheckpointError, match=r"pip install 'transformers>=5\.11'"):
        load_checkpoint(folder)


def test_a_folder_that_the_library_cannot_load(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match="transformers cannot load"):
        load_checkpoint(tmp_path)


def test_a_folder_without_a_tokenizer(gemma: DiffusionGemma) -> None:
    with pytest.raises(CheckpointError, match="no processor"):
        gemma.processor()
