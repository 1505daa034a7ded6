"""A training run from one folder: packed, run where only torch and few more are, handed back, checked."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.llm.checkpoint import load, save
from stretto.llm.cli import register
from stretto.llm.tokenizer import embedded_tokenizer
from stretto.llm.train import pack as packing
from stretto.llm.train.pack import BLOCK, PackError, four_bits, from_four_bits, starting_weights, unpack
from stretto.llm.train.presets import PRESETS
from stretto.llm.transformer import Transformer

THERE = ("torch", "torchgen", "functorch", "numpy", "safetensors", "tokenizers")
"""What a borrowed machine has..."""
NEEDS = ("typing_extensions", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "filelock", "fsspec")
"""... and what torch needs itself."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    model = Transformer(replace(PRESETS["cpu-smoke"].model, vocab=embedded_tokenizer().size, shifted=True))
    save(folder, model.config, model.state_dict())
    return folder


def command(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    register(parser.add_subparsers())
    args = parser.parse_args(argv)
    return int(args.run(args))


def packed(tmp_path: Path, weights: Path, files: tuple[str, str]) -> list[str]:
    given = ["--concierge", files[0], "--heard", files[0], "--concierge-valid", files[1]]
    small = ["--steps", "12", "--tokens", "1500", "--most", "1500", "--workers", "2"]
    return ["--json", "llm", "pack", str(tmp_path / "pack"), "--preset", "cpu-smoke", *given, *small,
            "--init", str(weights)]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 150), st.integers(0, 999))
def test_four_bits_are_within_a_fourteenth_of_their_block(rows: int, columns: int, seed: int) -> None:
    tensor = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    pairs, scales = four_bits(tensor)
    back = from_four_bits(pairs, scales, tensor.shape)
    assert back.shape == tensor.shape and pairs.dtype == torch.uint8
    assert len(pairs) * 2 == len(scales) * BLOCK < tensor.numel() + BLOCK
    assert float((back - tensor).abs().max()) <= float(tensor.abs().max()) / 13.9


def test_a_run_where_only_torch_and_few_more_are(
    tmp_path: Path, weights: Path, files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*packed(tmp_path, weights, files)) == 0
    made = json.loads(capsys.readouterr().out)
    assert {
        "concierge.jsonl.xz",
        "heard.jsonl.xz",
        "valid.concierge.jsonl.xz",
        "start.safetensors",
        "run.json",
    } == set(made["files"])
    started = starting_weights(tmp_path / "pack").state_dict()
    for name, tensor in load(weights).state_dict().items():
        assert float((started[name] - tensor).abs().max()) <= float(tensor.abs().max()) / 13
    site = tmp_path / "site"
    (site / "stretto").mkdir(parents=True)
    (site / "stretto" / "llm").symlink_to(Path(packing.__file__).parents[1])
    for name in (*THERE, *NEEDS):
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None, name
        origin = Path(spec.origin)
        target = origin.parent if origin.name == "__init__.py" else origin
        (site / target.name).symlink_to(target)
    for folder in Path(torch.__file__).parents[1].glob("*.libs"):
        (site / folder.name).symlink_to(folder)
    out = tmp_path / "out"
    run = [sys.executable, "-S", "-m", "stretto.llm.train.lease", str(tmp_path / "pack"), str(out)]
    env = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*run, "--device", "cpu"], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    smoke = json.loads((out / "work" / "smoke.json").read_text())
    assert smoke["device"] == "cpu" and smoke["tokens_per_second"] > 0 and "dense, eager" in smoke["ways"]
    assert "handed over" in done.stdout

    assert command("--json", "llm", "unpack", str(out / "result"), "--out", str(tmp_path / "back")) == 0
    trained, kept = load(out / "work").state_dict(), load(tmp_path / "back").state_dict()
    for name, tensor in trained.items():
        assert float((kept[name] - tensor).abs().max()) <= float(tensor.abs().max()) / 100
    rows = [json.loads(line) for line in (out / "result" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 12 and rows[-1]["valid_denoise"] > 0


def test_what_came_back_broken_is_named(tmp_path: Path, weights: Path) -> None:
    names = packing.hand_over(weights, tmp_path / "result")
    assert unpack(tmp_path / "result", tmp_path / "whole")
    part = tmp_path / "result" / names[0]
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(PackError, match=names[0]):
        unpack(tmp_path / "result", tmp_path / "broken")
    part.unlink()
    with pytest.raises(PackError, match="fetch them again"):
        unpack(tmp_path / "result", tmp_path / "broken")
    assert not (tmp_path / "broken").exists()
    with pytest.raises(PackError, match=r"parts\.json"):
        unpack(tmp_path, tmp_path / "broken")


def test_a_pack_that_is_too_large_or_lacks_files_is_refused(
    tmp_path: Path,
    weights: Path,
    files: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    argv = packed(tmp_path, weights, files)
    monkeypatch.setattr(packing, "PACK_BYTES", 1000)
    assert command(*argv) == 2
    assert "give fewer dialogues" in capsys.readouterr().err
    assert command(*argv[:-1], str(tmp_path / "nowhere")) == 2
    assert "no model in" in capsys.readouterr().err
    assert command(*[a.replace("a.valid", "b.valid") for a in argv]) == 2
    assert "there is no file" in capsys.readouterr().err
