"""What is wrong with a checkpoint is said, with the file or the tensor that it is about."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from stretto.llm.checkpoint import CheckpointError
from stretto.llm.checkpoints.load import FETCHED, RECIPES, Checkpoint, load_checkpoint, recognise
from torch import Tensor

Write = Callable[[Mapping[str, Any], Mapping[str, Tensor]], Path]
Draw = Callable[[Mapping[str, tuple[int, ...]]], dict[str, Tensor]]

CONFIG = {
    "architectures": ["SDARForCausalLM"],
    "model_type": "sdar",
    "attention_bias": False,
    "head_dim": 8,
    "hidden_act": "silu",
    "hidden_size": 16,
    "intermediate_size": 24,
    "mask_token_id": 49,
    "max_position_embeddings": 512,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000,
    "tie_word_embeddings": False,
    "vocab_size": 50,
}
SHAPES: dict[str, tuple[int, ...]] = {
    "model.embed_tokens.weight": (50, 16),
    "model.norm.weight": (16,),
    "lm_head.weight": (50, 16),
    "model.layers.0.input_layernorm.weight": (16,),
    "model.layers.0.post_attention_layernorm.weight": (16,),
    "model.layers.0.self_attn.q_proj.weight": (16, 16),
    "model.layers.0.self_attn.k_proj.weight": (8, 16),
    "model.layers.0.self_attn.v_proj.weight": (8, 16),
    "model.layers.0.self_attn.o_proj.weight": (16, 16),
    "model.layers.0.self_attn.q_norm.weight": (8,),
    "model.layers.0.self_attn.k_norm.weight": (8,),
    "model.layers.0.mlp.gate_proj.weight": (24, 16),
    "model.layers.0.mlp.up_proj.weight": (24, 16),
    "model.layers.0.mlp.down_proj.weight": (16, 24),
}
SECOND = "model-00002-of-00002.safetensors"


@pytest.fixture
def folder(write: Write, draw: Draw) -> Path:
    return write(CONFIG, draw(SHAPES))


def rewrite(folder: Path, **changes: Any) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))


def single(folder: Path) -> dict[str, Tensor]:
    """The weights, to be changed and written as one file without an index."""
    weights: dict[str, Tensor] = {}
    for path in folder.glob("*.safetensors"):
        weights |= {name: tensor.clone() for name, tensor in load_file(path).items()}
        path.unlink()
    (folder / "model.safetensors.index.json").unlink()
    return weights


def refused(folder: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_one_file_is_as_good_as_shards(folder: Path) -> None:
    before = load_checkpoint(folder)
    save_file(single(folder), folder / "model.safetensors")
    after = load_checkpoint(folder)
    assert isinstance(before, Checkpoint) and isinstance(after, Checkpoint)
    tokens = torch.arange(12)[None]
    assert before.model(tokens).equal(after.model(tokens))


def test_weights_on_a_cpu_are_the_mapped_file(folder: Path) -> None:
    save_file(single(folder), folder / "model.safetensors")
    loaded = load_checkpoint(folder)
    assert isinstance(loaded, Checkpoint)
    maps = Path("/proc/self/maps")
    if maps.is_file():
        assert str(folder / "model.safetensors") in maps.read_text()
    halved = load_checkpoint(folder, dtype=torch.bfloat16)
    assert isinstance(halved, Checkpoint)
    assert {t.dtype for t in halved.model.state_dict().values()} == {torch.bfloat16}


def test_an_unknown_family_names_the_known_ones(folder: Path) -> None:
    rewrite(folder, architectures=["GPT2LMHeadModel"], model_type="gpt2")
    refused(folder, r"GPT2LMHeadModel.*Nemotron-Labs-Diffusion, LLaDA, Dream, Fast-dLLM v2, SDAR, LLaDA2")


def test_kin_with_another_computation_is_not_taken_for_the_family() -> None:
    with pytest.raises(CheckpointError, match="LLaDAMoEModelLM"):
        recognise({"model_type": "llada", "architectures": ["LLaDAMoEModelLM"]})
    assert recognise({"model_type": "llada"}).family == "LLaDA"
    names = [a for recipe in RECIPES for a in recipe.architectures]
    assert len(names) == len(set(names))


def test_no_checkpoint_at_all(tmp_path: Path) -> None:
    refused(tmp_path, "no config.json")
    (tmp_path / "config.json").write_text("{")
    refused(tmp_path, "cannot be read")
    (tmp_path / "config.json").write_text("[]")
    refused(tmp_path, "holds no object")


def test_a_missing_shard_is_named(folder: Path) -> None:
    (folder / SECOND).unlink()
    refused(folder, f"lacks {SECOND}")


def test_no_weights_at_all(folder: Path) -> None:
    single(folder)
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    refused(folder, r"has no weights.*pickles")


def test_a_shard_that_is_cut_off(folder: Path) -> None:
    whole = (folder / SECOND).read_bytes()
    (folder / SECOND).write_bytes(whole[: len(whole) // 2])
    refused(folder, f"{SECOND} cannot be read")


def test_an_index_that_is_wrong(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    described = json.loads(index.read_text())
    name = next(n for n, file in described["weight_map"].items() if file == SECOND)
    described["weight_map"][name] = SECOND.replace("00002-of", "00001-of")
    index.write_text(json.dumps(described))
    refused(folder, f"lacks the tensor {name}, which the index puts there")
    index.write_text("{}")
    refused(folder, "index.json cannot be read")


@pytest.mark.parametrize("name", ["lm_head.weight", "model.layers.0.self_attn.q_norm.weight"])
def test_a_missing_tensor_is_named(folder: Path, name: str) -> None:
    weights = single(folder)
    del weights[name]
    save_file(weights, folder / "model.safetensors")
    refused(folder, f"lacks the tensor {name}")


def test_a_tensor_that_is_left_over_is_named(folder: Path) -> None:
    weights = single(folder)
    weights["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(16)
    save_file(weights, folder / "model.safetensors")
    refused(folder, r"model\.layers\.0\.self_attn\.q_proj\.bias")


def test_what_nobody_reads_is_left_out(folder: Path) -> None:
    weights = single(folder)
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(4)
    save_file(weights, folder / "model.safetensors")
    load_checkpoint(folder)


def test_a_tied_head_that_is_stored_all_the_same(folder: Path) -> None:
    rewrite(folder, tie_word_embeddings=True)
    loaded = load_checkpoint(folder)
    assert isinstance(loaded, Checkpoint)
    assert loaded.model.lm_head.weight is loaded.model.embed_tokens.weight


def test_a_tensor_of_another_shape_is_named(folder: Path) -> None:
    rewrite(folder, intermediate_size=32)
    refused(folder, r"mlp\.gate_proj\.weight is \[24, 16\], and config\.json makes it \[32, 16\]")


@pytest.mark.parametrize("kind", [torch.int8, torch.float8_e4m3fn, torch.int32])
def test_a_precision_that_is_not_read(folder: Path, kind: torch.dtype) -> None:
    weights = single(folder)
    name = "model.layers.0.mlp.up_proj.weight"
    weights[name] = weights[name].to(kind)
    save_file(weights, folder / "model.safetensors")
    refused(folder, rf"{name} is stored as .*F32, F16, BF16 are read")


def test_quantised_weights_are_refused_before_they_are_read(folder: Path) -> None:
    rewrite(folder, quantization_config={"quant_method": "fp8"})
    refused(folder, "quantised")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "gelu"}, "hidden_act: 'gelu'.*'silu' only"),
        ({"attention_bias": True}, "attention_bias: True"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8}}, "rope_type: 'llama3'"),
        ({"num_attention_heads": "many"}, "does not describe a SDAR model"),
        ({"mask_token_id": 50}, "the mask of SDAR is 50, and the model has 50 tokens"),
        ({"mask_token_id": None}, "the mask of SDAR is 151669"),
        ({"mask_token_id": "49"}, "mask_token_id: '49', which is no whole number"),
        ({"block_size": [4]}, r"block_size: \[4\], which is no whole number"),
    ],
)
def test_a_config_that_is_not_computed_here(folder: Path, change: dict[str, Any], message: str) -> None:
    rewrite(folder, **change)
    refused(folder, message)


def test_a_config_without_a_key(folder: Path) -> None:
    short = {key: value for key, value in CONFIG.items() if key != "hidden_size"}
    (folder / "config.json").write_text(json.dumps(short))
    refused(folder, "hidden_size")


def test_a_name_that_is_neither_folder_nor_hub_name(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "no folder")


def test_a_hub_name_gives_data_and_no_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fetched(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision, allow_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    loaded = load_checkpoint("JetLM/SDAR-1.7B-Chat@v1.0")
    assert isinstance(loaded, Checkpoint) and loaded.folder == folder
    load_checkpoint("JetLM/SDAR-1.7B-Chat")
    assert [a[:2] for a in asked] == [("JetLM/SDAR-1.7B-Chat", "v1.0"), ("JetLM/SDAR-1.7B-Chat", None)]
    assert asked[0][2] == FETCHED and not any(pattern.endswith((".py", ".bin", "*")) for pattern in FETCHED)


def test_without_a_network_a_folder_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"JetLM/SDAR-1.7B-Chat .* give its folder"):
        load_checkpoint("JetLM/SDAR-1.7B-Chat")
