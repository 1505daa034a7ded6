"""Weights in a folder: what was saved comes back; what cannot be used is refused with a remedy."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stretto.llm.checkpoint import START_FORMATS, CheckpointError, export, load, save
from stretto.llm.cli import register
from stretto.llm.transformer import Config, Transformer

TINY = Config(vocab=50, layers=1, width=16, heads=2, kv_heads=1, head_width=8, hidden=24)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save(tmp_path, TINY, Transformer(TINY).state_dict())
    return tmp_path


def test_what_was_saved_comes_back(folder: Path) -> None:
    torch.manual_seed(0)
    saved, loaded = Transformer(TINY).state_dict(), load(folder)
    assert loaded.config == TINY
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, saved[name], rtol=1e-2, atol=1e-3)
    assert loaded.lm_head.weight is loaded.embed_tokens.weight


def test_weights_are_averaged_with_those_they_went_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = {name: Transformer(TINY) for name in ("before", "after")}
    for name, model in models.items():
        save(tmp_path / name, TINY, model.state_dict())
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true", default=True)
    register(parser.add_subparsers())
    flags = ["--before", str(tmp_path / "before"), "--share", "0.25", "--out", str(tmp_path / "both")]
    args = parser.parse_args(["llm", "export", str(tmp_path / "after"), *flags])
    assert args.run(args) == 0
    both = load(tmp_path / "both").state_dict()
    for name, after in models["after"].state_dict().items():
        wanted = 0.75 * after + 0.25 * models["before"].state_dict()[name]
        torch.testing.assert_close(both[name], wanted, rtol=0.02, atol=0.01)
    assert args.run(argparse.Namespace(**{**vars(args), "share": 2.0})) == 2
    save(tmp_path / "before", replace(TINY, layers=2), Transformer(replace(TINY, layers=2)).state_dict())
    assert args.run(args) == 2 and "different shapes" in capsys.readouterr().err


def test_an_empty_folder_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json and the weights"):
        load(tmp_path)


def test_another_format_version_is_refused(folder: Path) -> None:
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**described, "format_version": 99}))
    with pytest.raises(CheckpointError, match="format version 99"):
        load(folder)


def test_training_may_go_on_from_an_earlier_format_and_a_call_may_not(folder: Path) -> None:
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**described, "format_version": 1}))
    assert load(folder, formats=START_FORMATS).config == Config(**described["model"])
    with pytest.raises(CheckpointError, match="format version 1"):
        load(folder)


def test_broken_weights_and_weights_of_another_shape_are_refused(folder: Path) -> None:
    described = json.loads((folder / "config.json").read_text())
    described["model"]["layers"] = 2
    (folder / "config.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match="do not fit"):
        load(folder)
    described["model"].update(layers=1, hidden=32)
    (folder / "config.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match="do not fit"):
        load(folder)
    (folder / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(folder)


def test_a_model_to_ship_comes_back_from_its_parts_within_a_hundredth(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Transformer(TINY)
    (tmp_path / "model.safetensors").write_bytes(b"of an earlier model")
    names = export(tmp_path, model, part_bytes=1000)
    assert len(names) > 1
    assert sorted(p.name for p in tmp_path.glob("model*")) == names
    assert sum(p.stat().st_size for p in tmp_path.glob("model*")) < 2 * sum(
        p.numel() for p in model.parameters()
    )
    for name, tensor in load(tmp_path).state_dict().items():
        torch.testing.assert_close(
            tensor, model.state_dict()[name], rtol=0, atol=0.01 * float(tensor.abs().max())
        )


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    names = export(tmp_path, Transformer(TINY), part_bytes=1000)
    (tmp_path / names[1]).unlink()
    with pytest.raises(CheckpointError, match=names[1]):
        load(tmp_path)


def test_the_export_command(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    register(parser.add_subparsers())
    args = parser.parse_args(["--json", "llm", "export", str(folder), "--out", str(tmp_path / "shipped")])
    assert args.run(args) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == ["model-1-of-1.safetensors"] and told["bytes"] > 0
    assert load(tmp_path / "shipped").config == TINY
    args = parser.parse_args(["llm", "export", str(tmp_path / "no"), "--out", str(tmp_path / "shipped")])
    assert args.run(args) == 2 and "no model" in capsys.readouterr().err
