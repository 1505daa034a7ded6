"""The benchmark's rows: what they hold, what they compare, and what they say where they compare nothing."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from stretto.llm.bench import (
    command,
    constraint_cost,
    forward_cost,
    full_attention,
    gguf_file,
    llama,
    modes,
    revision,
    situations,
)
from stretto.llm.bench.measure import Setup, machine, medians
from stretto.llm.checkpoint import save
from stretto.llm.cli import register
from stretto.llm.format import dialogue_segments
from stretto.llm.samplers import FixedSteps, Threshold
from stretto.llm.tokenizer import embedded_tokenizer
from stretto.llm.train.conversion import PARTS, rotated_halves
from stretto.llm.transformer import Config, Transformer
from torch.utils.flop_counter import FlopCounterMode

TINY = Config(
    vocab=embedded_tokenizer().size, layers=2, width=32, heads=4, kv_heads=2, head_width=8, hidden=64,
    qk_norm=False, shifted=True,
)  # fmt: skip


def tiny(**options: Any) -> Transformer:
    torch.manual_seed(0)
    return Transformer(replace(TINY, **options)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def setup() -> Setup:
    return Setup(tiny(), embedded_tokenizer(), batches=(1, 2), runs=1)


def test_the_same_conversations_are_written_both_ways(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "SITUATIONS", (situations.SITUATIONS[3], situations.SITUATIONS[6]))
    rows = modes.compare(setup)
    measured = [row for row in rows if isinstance(row, modes.ModesRow)]
    wanted = [(k, b, s) for k in ("reply", "call") for b in (1, 2) for s in ("verified", "threshold")]
    assert [(row.kind, row.batch, row.sampler) for row in measured] == wanted
    for row in measured:
        assert row.ratio == pytest.approx(row.canvas_ms / row.causal_ms, rel=0.02)
        assert row.causal_forwards > row.tokens / 2 > 1
        assert row.forwards > 1
        if row.kind == "call":
            assert row.canvas_first_ms is row.causal_first_ms is row.first_ratio is None
        else:
            assert row.canvas_first_ms is not None and 0 < row.canvas_first_ms <= row.canvas_ms
    assert {"name", "batch", "canvas_ms", "causal_ms", "ratio", "forwards"} <= set(asdict(measured[0]))
    crossings = [row for row in rows if isinstance(row, modes.CrossoverRow)]
    assert len(crossings) == 4
    assert all(row.crossover_batch in (1, 2, None) for row in crossings)


def test_a_reply_is_words_and_a_call_a_call(setup: Setup) -> None:
    kinds = [one.kind for one in situations.SITUATIONS]
    assert kinds.count("reply") == kinds.count("call") == 4
    for one in (*situations.SITUATIONS, *(pair.situation for pair in situations.VERSIONS)):
        messages = [*one.messages, *([{"role": "user", "content": one.heard}] if one.heard else [])]
        assert messages[-1]["role"] in ("user", "tool")
        tools = [vars(tool) for tool in situations.TOOLS]
        told = {"tools": tools, "messages": [{"role": "system", "content": situations.SYSTEM}, *messages]}
        assert 200 < sum(len(s.ids) for s in dialogue_segments(setup.tokenizer, told)) < 600


def made_row(batch: int, ratio: float, first: float | None, sampler: Any = "verified") -> modes.ModesRow:
    return modes.ModesRow("modes", "reply", sampler, batch, ratio, 1.0, ratio, first, 1.0, first, 3, 9, 8)


def test_the_crossover_is_the_first_batch_at_which_causal_writing_wins() -> None:
    rows = [made_row(16, 1.1, 1.5), made_row(1, 0.5, 1.2), made_row(64, 0.9, 1.0), made_row(4, 0.9, 0.8)]
    rows += [made_row(1, 0.3, None, "threshold"), made_row(64, 1.0, None, "threshold")]
    found = {row.sampler: row for row in modes.crossovers(rows)}
    assert found["verified"].crossover_batch == 16
    assert found["verified"].first_clause_crossover_batch == 1
    assert found["threshold"].crossover_batch is None
    assert found["threshold"].first_clause_crossover_batch is None
    assert modes.crossovers([made_row(1, 1.01, 1.0)])[0].crossover_batch == 1


@pytest.mark.parametrize(
    ("text", "enough"),
    [("Certainly.", True), ("What is", False), ("What is your order", True), ("Okay,", True), ("", False)],
)
def test_a_clause_is_enough_to_begin_to_speak(text: str, enough: bool) -> None:
    assert modes.begins_speech(text) is enough


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("tokens", forward_cost.SIZES)
def test_the_floor_multiplies_what_a_pass_multiplies(tokens: int, shifted: bool) -> None:
    model = tiny(shifted=shifted)
    cache = forward_cost.read_cache(model)
    counts = []
    for run in (
        forward_cost.forward(model, cache, tokens),
        forward_cost.matmul_floor(model, tokens, cache.length),
    ):
        with FlopCounterMode(display=False) as counter:
            run()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0
    assert cache.length == forward_cost.BEHIND


def test_forward_and_constraints_have_a_row_each(setup: Setup) -> None:
    rows = forward_cost.compare(setup)
    assert [row.tokens for row in rows if isinstance(row, forward_cost.ForwardRow)] == [1, 16, 32, 64]
    for row in rows:
        assert isinstance(row, forward_cost.ForwardRow)
        assert row.ratio == pytest.approx(row.forward_ms / row.floor_ms, rel=0.02)
    costs = constraint_cost.compare(setup)
    assert len(costs) == sum(bool(tool.parameters["properties"]) for tool in situations.TOOLS)
    for cost in costs:
        assert cost.ratio == pytest.approx(cost.both_ms / cost.forward_ms, rel=0.03)
        assert cost.states > 5 and cost.edges > cost.states


def test_a_revised_draft_says_the_same_as_a_fresh_one(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revision, "VERSIONS", (situations.VERSIONS[0], situations.VERSIONS[4]))
    unchanged, changed = revision.compare(setup)
    assert (unchanged.change, changed.change) == ("nothing", "another order")
    assert unchanged.same and changed.same
    assert not unchanged.stale
    assert unchanged.forwards == 1 < unchanged.fresh_forwards


@pytest.fixture(scope="module")
def llada(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return full_attention.tiny_llada(tmp_path_factory.mktemp("llada"), torch.float32)


PROMPTS = torch.arange(3 * full_attention.PROMPT).view(3, -1)


@pytest.mark.parametrize("sampler", [FixedSteps(8), Threshold(0.9, 8)])
def test_the_full_attention_loop_writes_each_as_if_alone(llada: Any, sampler: Any) -> None:
    found = full_attention.write_blocks(llada, PROMPTS, sampler)
    assert torch.equal(found.tokens[:, : full_attention.PROMPT], PROMPTS)
    assert not bool((found.tokens == llada.mask).any())
    assert found.forwards <= full_attention.STEPS
    alone = full_attention.write_blocks(llada, PROMPTS[1:2], sampler)
    assert torch.equal(alone.tokens, found.tokens[1:2])


@pytest.mark.skipif(full_attention.why_not() is not None, reason="dlmserve is not installed")
def test_dlmserve_writes_the_same(llada: Any) -> None:
    mine = full_attention.write_blocks(llada, PROMPTS, full_attention.WAYS["fixed"][0])
    theirs = full_attention.write_theirs(llada, PROMPTS, leaps=False)
    assert torch.equal(mine.tokens, theirs.tokens)
    assert mine.forwards == theirs.forwards == full_attention.STEPS


@pytest.mark.skipif(full_attention.why_not() is not None, reason="dlmserve is not installed")
def test_throughput_is_given_where_the_passes_are_alike(setup: Setup) -> None:
    fixed, adaptive = full_attention.compare(replace(setup, batches=(1,)))
    assert isinstance(fixed, full_attention.LoopRow) and isinstance(adaptive, full_attention.LoopRow)
    assert fixed.forwards == fixed.dlmserve_forwards and fixed.same == 1.0
    assert fixed.tokens_per_s is not None and adaptive.tokens_per_s is None
    assert adaptive.ratio == pytest.approx(
        adaptive.ours_ms / adaptive.forwards / (adaptive.dlmserve_ms / adaptive.dlmserve_forwards), rel=0.02
    )


@pytest.mark.parametrize(
    ("comparison", "package"), [(full_attention, "dlmserve"), (llama, "llama-cpp-python")]
)
def test_what_is_not_installed_is_skipped_with_a_reason(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, comparison: Any, package: str
) -> None:
    monkeypatch.setattr(comparison, "find_spec", lambda name: None)
    (row,) = comparison.compare(setup)
    assert row.name == comparison.NAME
    assert "not installed" in row.skipped and f"pip install {package}" in row.skipped


def test_a_llama_cpp_that_fails_is_skipped_with_its_words(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("gguf")
    broken = tmp_path / "llama_cpp.py"
    broken.write_text("raise RuntimeError('no shared library')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(llama, "why_not", lambda: None)
    (row,) = llama.compare(setup)
    assert "no shared library" in row.skipped and "another version" in row.skipped


def test_what_is_no_llama_is_not_compared_with_llama_cpp(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama, "why_not", lambda: None)
    (row,) = llama.compare(replace(setup, model=tiny(qk_norm=True)))
    assert "norms of queries and keys" in row.skipped


def test_a_gguf_file_holds_the_weights(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    model = tiny()
    path = tmp_path / "model.gguf"
    gguf_file.write_gguf(path, model, 64)
    stored = {t.name: t for t in gguf.GGUFReader(path).tensors}
    weights = dict(model.named_parameters())
    assert len(stored) == 2 + TINY.layers * len(PARTS)
    for i in range(TINY.layers):
        for theirs, ours in PARTS.items():
            found = torch.from_numpy(stored[f"blk.{i}.{theirs}.weight"].data.copy())
            if theirs in ("attn_q", "attn_k"):
                found = rotated_halves(found, TINY.heads if theirs == "attn_q" else TINY.kv_heads)
            assert torch.equal(found, weights[f"layers.{i}.{ours}.weight"])


@pytest.mark.skipif(find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed")
@pytest.mark.parametrize("tied", [True, False])
def test_llama_cpp_writes_the_same(tmp_path: Path, setup: Setup, tied: bool) -> None:
    pytest.importorskip("gguf")
    model = tiny(tied=tied)
    rows = llama.compare(replace(setup, model=model))
    assert [row.what for row in rows if isinstance(row, llama.LlamaRow)] == ["prompt", "token", "reply"]
    for row in rows:
        assert isinstance(row, llama.LlamaRow)
        assert row.same_tokens == llama.REPLY


def test_the_prompt_is_a_dialogue_of_the_stated_length(setup: Setup) -> None:
    ids = llama.prompt_ids(setup.tokenizer)
    assert len(ids) == llama.PROMPT
    assert situations.SYSTEM in setup.tokenizer.decode(ids)
    assert llama.agreeing([1, 2, 3], [1, 2, 4]) == 2
    assert llama.agreeing([1, 2], [1, 2]) == 2


def test_ways_take_turns() -> None:
    order: list[str] = []
    ms = medians({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert "".join(order) == "abbaabba"
    assert set(ms) == {"a", "b"}


def test_the_machine_is_described(setup: Setup) -> None:
    found = machine(setup, "stretto llm bench --runs 1")
    assert {"cpu", "cores", "threads", "torch", "dtype", "date", "command"} <= set(found)
    assert found["dtype"] == "float32" and found["command"].endswith("--runs 1")


def bench(*flags: str) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    args = parser.parse_args(["llm", "bench", *flags])
    args.json, args.quiet = "--out" in flags, "--out" in flags
    return command.run_bench(args)


def test_the_command_prints_and_writes_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_attention, "find_spec", lambda name: None)
    save(tmp_path / "model", TINY, tiny().state_dict())
    flags = ("--model", str(tmp_path / "model"), "--runs", "1", "--only", "forward", "dlmserve")
    assert bench(*flags, "--out", str(tmp_path / "bench.json")) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed == json.loads((tmp_path / "bench.json").read_text())
    assert {row["name"] for row in printed["rows"]} == {"forward", "dlmserve"}
    assert printed["machine"]["runs"] == 1
    assert bench(*flags) == 0
    shown = capsys.readouterr().out
    assert "floor ms" in shown and "dlmserve" in shown and printed["machine"]["cpu"] in shown


def test_every_comparison_has_a_name_and_a_line() -> None:
    assert tuple(command.comparisons()) == command.NAMES
    assert {*command.NAMES, "crossover"} == set(command.ABOUT)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--runs", "0"), "1 or more"),
        (("--batches", "0", "4"), "1 or more"),
        (("--model", "/nowhere"), "no model in"),
        (("--out", "/nowhere/bench.json"), "/nowhere/bench.json"),
    ],
)
def test_bad_flags_are_named(capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], said: str) -> None:
    assert bench(*flags) == 2
    assert said in capsys.readouterr().err
