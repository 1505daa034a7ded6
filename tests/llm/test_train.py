"""Training: batches follow from the step, a run that stops goes on as if it had not, canvases are true."""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stretto.llm.checkpoint import load
from stretto.llm.cli import register
from stretto.llm.format import Segment, dialogue_segments
from stretto.llm.tokenizer import CALL, END, MASK, PADS, SAY, USER, embedded_tokenizer
from stretto.llm.train import train as training
from stretto.llm.train.augment import as_spoken, damage, subset_tools
from stretto.llm.train.batches import Batches, Source, load_dialogues
from stretto.llm.train.canvases import OPENED, Batch, Mix, causal_weights, corrupt, fill, make_batch
from stretto.llm.train.flex import flex_attend
from stretto.llm.train.objectives import beliefs, losses, mean_losses
from stretto.llm.train.prefetch import prefetched
from stretto.llm.train.presets import PRESETS, PresetError, with_values
from stretto.llm.train.schemas import rename_tools
from stretto.llm.train.train import Pace, held_out, schedule, train_command
from stretto.llm.transformer import Transformer
from stretto.llm.writing import CALL_CANVAS, SAY_CANVAS
from stretto.tools.concierge.dialogues import generate
from torch import Tensor

Make = Callable[[int], dict[str, Any]]


def arguments(files: tuple[str, str], out: Path, steps: int, resume: bool = False) -> argparse.Namespace:
    return argparse.Namespace(
        preset="cpu-smoke", data=None, concierge=[files[0]], concierge_valid=[files[1]], heard=[files[0]],
        out=str(out), resume=resume, steps=steps, embeddings=None, init=None, device="cpu", threads=1,
        set=["tokens=300", "log_every=10", "eval_every=30", "verbatim=0", "longest=768"],
    )  # fmt: skip


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(
    files: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_command(arguments(files, tmp_path / "whole", 60))
    # Killed after the checkpoint of step 30, in the middle of the way to the next one.
    real, calls = training.losses, [0]

    def killed(*args: object) -> object:
        calls[0] += 1
        if calls[0] == 40:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(training, "losses", killed)
    with pytest.raises(KeyboardInterrupt):
        train_command(arguments(files, tmp_path / "cut", 60))
    monkeypatch.setattr(training, "losses", real)
    train_command(arguments(files, tmp_path / "cut", 60, resume=True))
    whole, cut = load(tmp_path / "whole").state_dict(), load(tmp_path / "cut").state_dict()
    for name in whole:
        torch.testing.assert_close(cut[name], whole[name], rtol=0, atol=0)
    train_command(
        argparse.Namespace(
            **{**vars(arguments(files, tmp_path / "more", 10)), "init": str(tmp_path / "whole")}
        )
    )
    rows = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    more = json.loads((tmp_path / "more" / "log.jsonl").read_text().splitlines()[0])
    assert more["causal"] < rows[0]["causal"], "a run may start from the weights of another"
    assert rows[-1]["causal"] < rows[0]["causal"] and rows[-1]["denoise"] < rows[0]["denoise"]
    assert {"valid_causal", "valid_denoise", "tokens"} <= rows[-1].keys()


def test_a_compiler_that_fails_in_mid_run_does_not_end_it(
    files: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [0]

    def compiled(function: Callable[..., Any], dynamic: bool) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            calls[0] += 1
            if calls[0] == 3:
                raise AssertionError("expected size 2==2, stride 221184==294912 at dim=0")
            return function(*given)

        return run

    def trained(name: str, *values: str) -> dict[str, Tensor]:
        args = arguments(files, tmp_path / name, 5)
        args.set = [*args.set, *values]
        train_command(args)
        return load(tmp_path / name).state_dict()

    plain = trained("plain")
    monkeypatch.setattr(torch, "compile", compiled)
    failing = trained("failing", "compile=true")
    assert calls[0] == 3, "from then on it is not asked again"
    for name in plain:
        torch.testing.assert_close(failing[name], plain[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--preset", "cpu-smoke", "--concierge", "none.gz"), "none.gz"),
        (("--preset", "cpu"), "--data"),
        (("--preset", "cpu", "--data", "no folder"), "no folder"),
    ],
)
def test_files_that_are_not_there_are_told_before_the_training(
    flags: tuple[str, ...],
    told: str,
    files: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    fixed = ("--concierge", files[0]) if "--concierge" not in flags else ()
    args = parser.parse_args(
        ["llm", "train", *flags, *fixed, "--concierge-valid", files[1], "--out", str(tmp_path / "out")]
    )
    assert args.run(args) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_validation_dialogues_are_refused_as_training_data(files: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="do not train on it"):
        load_dialogues([files[1]], "train")


def test_a_batch_is_a_function_of_seed_and_step(files: tuple[str, str]) -> None:
    def batches(seed: int) -> Batches:
        return Batches(embedded_tokenizer(), {"x": Source((files[0],), 1.0)}, seed, 600)

    ((one,), (again,), (other,)) = batches(1).batch(7), batches(1).batch(7), batches(2).batch(7)
    assert torch.equal(one.canvas, again.canvas) and torch.equal(one.clean, again.clean)
    assert one.clean.shape != other.clean.shape or not torch.equal(one.clean, other.clean)


def test_a_small_step_is_not_blown_up_by_padding(dialogue: Make, tmp_path: Path) -> None:
    """One long dialogue among short ones makes no batch of many rows of its length."""
    path = tmp_path / "mixed.jsonl.gz"
    with gzip.open(path, "wt") as file:
        for number in range(30):
            one = dialogue(number)
            turns = one["messages"][1:]
            one["messages"] += turns * (8 if number % 3 == 0 else 0)
            file.write(json.dumps(one) + "\n")
    batches = Batches(embedded_tokenizer(), {"x": Source((str(path),), 1.0)}, 1, 600)
    shapes = [tuple(batches.batch(step)[0].clean.shape) for step in range(20)]
    assert all(rows * width <= 600 or rows == 1 for rows, width in shapes)
    assert any(rows > 3 for rows, _ in shapes) and any(width > 300 for _, width in shapes)


def same(one: Batch, other: Batch) -> bool:
    return all(
        torch.equal(value, vars(other)[name]) if isinstance(value, Tensor) else value == vars(other)[name]
        for name, value in vars(one).items()
    )


def large(files: tuple[str, str]) -> Batches:
    source = {"x": Source((files[0],), 1.0)}
    return Batches(embedded_tokenizer(), source, 1, 3000, shifted=True, most=2000)


def test_a_large_step_is_cut_into_batches_of_few_shapes(files: tuple[str, str]) -> None:
    parts = large(files).batch(3)
    assert len(parts) > 1 and sum(part.tokens for part in parts) >= 3000
    assert all(part.clean.shape[1] % 128 == 0 and part.canvas.shape[1] % 128 == 0 for part in parts)
    model = Transformer(replace(PRESETS["cpu-smoke"].model, vocab=embedded_tokenizer().size, shifted=True))
    causal, denoise = mean_losses(model, [parts])
    whole = sum(float(part.weight.sum()) for part in parts)
    each = [mean_losses(model, [[part]])[1] * float(part.weight.sum()) / whole for part in parts]
    assert denoise == pytest.approx(sum(each), rel=1e-4) and causal > 0


@pytest.mark.parametrize("most", [0, 2000])
def test_a_share_of_a_run_is_copying_drills(files: tuple[str, str], most: int) -> None:
    tokenizer = embedded_tokenizer()
    brief = tokenizer.encode("Be brief.")
    source = {"x": Source((files[0],), 1.0)}

    def drills(share: float) -> float:
        tokens = 3000 if most else 600
        batches = Batches(tokenizer, source, 1, tokens, most=most, drilled=lambda step: share * (step > 0))
        given = [
            [row[1 : 1 + len(brief)].tolist() == brief for part in batches.batch(step) for row in part.clean]
            for step in range(9)
        ]
        assert all(given[0]), "the share is the step's"
        later = [one for step in given[1:] for one in step]
        return 1 - sum(later) / len(later)

    assert drills(1.0) == 1.0 and drills(0.0) == 0.0 and 0.1 < drills(0.5) < 0.9


def test_batches_made_ahead_are_the_same(files: tuple[str, str]) -> None:
    batches = large(files)
    ahead = list(prefetched(batches.batch, range(2, 7), workers=2))
    assert len(ahead) == 5
    for step, parts in zip(range(2, 7), ahead, strict=True):
        assert all(map(same, parts, batches.batch(step)))


def test_flex_attention_sees_what_the_mask_says(dialogue: Make, files: tuple[str, str]) -> None:
    torch.manual_seed(0)
    paused: dict[str, Any] = dialogue(3)
    paused["messages"][1]["pauses"] = [["I need a.", "table please"]]
    tokenizer = embedded_tokenizer()
    rows = [dialogue_segments(tokenizer, one) for one in (paused, dialogue(4))]
    batch = make_batch(rows, tokenizer.size, random.Random(0), shifted=True, multiple=128)
    model = Transformer(replace(PRESETS["cpu-smoke"].model, vocab=tokenizer.size, shifted=True))
    model.eval().requires_grad_(False)  # unfused, it has no gradient on a CPU
    dense = model.train_pass(batch.clean, batch.canvas, batch.positions, batch.sees)
    flex = model.train_pass(batch.clean, batch.canvas, batch.positions, flex_attend(batch))
    real = batch.group >= 0
    torch.testing.assert_close(flex[0], dense[0])
    torch.testing.assert_close(flex[1][real], dense[1][real], rtol=1e-4, atol=1e-5)


def test_minutes_decide_how_many_steps_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(training.time, "monotonic", lambda: clock[0])
    pace = Pace(steps=1000, minutes=2.0, spent=20.0)  # 100 s are left; the first steps compile
    done = 0
    while done < pace.steps:
        clock[0] += 5.0 if done < Pace.SLOW - 1 else 0.5
        done += 1
        pace.step(done)
    assert pace.seconds == pytest.approx(120.0, abs=2.0) and 100 < pace.steps < 150
    assert Pace(50, 0.0, 0.0).steps == 50


def test_canvases_stand_where_their_words_stand_and_see_only_what_is_before(dialogue: Make) -> None:
    tokenizer = embedded_tokenizer()
    segments = dialogue_segments(tokenizer, dialogue(3))
    batch = make_batch([segments], tokenizer.size, random.Random(0))
    clean = [t for s in segments for t in s.ids]
    length = len(clean)
    for at in range(batch.canvas.shape[1]):
        if not batch.weight[0, at]:
            continue
        place, target = int(batch.positions[0, at]), int(batch.target[0, at])
        if target not in PADS:
            assert clean[place] == target
        sees = batch.sees[0, at]
        start = int(sees[:length].sum())
        assert sees[:start].all() and start <= place
        assert {SAY, CALL} & set(clean[:start])
        assert sees[length + at]


def test_the_autoregressive_twin_reads_the_same_and_writes_nothing(dialogue: Make) -> None:
    tokenizer = embedded_tokenizer()
    paused: dict[str, Any] = dialogue(3)
    paused["messages"][1]["pauses"] = [["I need a.", "table please"]]
    rows = [dialogue_segments(tokenizer, one) for one in (paused, dialogue(4))]
    both, read = (
        make_batch(rows, tokenizer.size, random.Random(0), shifted=True, mix=Mix(share))
        for share in (1.0, 0.0)
    )
    assert not (read.weight * ~read.ordered).any() and (both.weight * ~both.ordered).any()
    assert read.ordered.any()  # pauses are read
    torch.manual_seed(0)
    model = Transformer(replace(PRESETS["cpu-smoke"].model, vocab=tokenizer.size, shifted=True))
    (causal, denoise), (alone, nothing) = (next(iter(losses(model, [batch]))) for batch in (both, read))
    assert alone.item() == pytest.approx(causal.item(), rel=1e-4)
    assert nothing.item() == 0.0 < denoise.item()
    (alone + nothing).backward()
    assert PRESETS["ar-twin"].opened == 0 and PRESETS["ar-twin"].model == PRESETS["cpu-half"].model


def test_a_stale_draft_stands_on_the_canvas_and_is_written_over() -> None:
    tokenizer = embedded_tokenizer()
    segments = [
        Segment("say", (SAY,), (*tokenizer.encode(words), END))
        for words in ("Which day would you like?", "For how many people?")
    ]
    old, new = (fill(segment.body, 16) for segment in segments)
    kept = 0
    for seed in range(20):
        batch = make_batch([segments], tokenizer.size, random.Random(seed), mix=Mix(stale=1.0))
        mine = batch.group[0] == 1
        first = int(batch.positions[0][mine][0]) - len(segments[0].ids) - 1
        canvas, target = batch.canvas[0][mine].tolist(), batch.target[0][mine].tolist()
        assert target[: 16 - first] == new[first:] and batch.weight[0][mine].all()
        for token, before in zip(canvas, old[first:], strict=False):
            assert token in (MASK, before) or token in PADS
            kept += token == before
    assert kept > 80


@pytest.mark.parametrize(("drafted", "least", "most"), [(0.0, 0, 12), (0.5, 30, 100), (1.0, 80, 120)])
def test_a_share_of_the_canvases_are_those_that_a_sampler_opens(
    dialogue: Make, drafted: float, least: int, most: int
) -> None:
    assert OPENED == {"say": SAY_CANVAS, "call": CALL_CANVAS}
    tokenizer = embedded_tokenizer()
    segments = dialogue_segments(tokenizer, dialogue(3))
    written = 0
    for seed in range(60):
        rng = random.Random(seed)
        batch = make_batch([segments], tokenizer.size, rng, shifted=True, mix=Mix(drafted=drafted))
        for number in range(int(batch.group.max()) + 1):
            mine = batch.group[0] == number
            known = (batch.weight[0][mine] == 0).tolist()
            if known[0] and not any(known[1:]):
                written += 1
                assert batch.canvas[0][mine][2:].eq(MASK).all()
                first = int(batch.positions[0][mine][0]) + 1  # shifted: it is read one place before
                assert batch.target[0][mine][0] == batch.clean[0][first]
    assert least <= written <= most


def test_what_an_agent_did_by_mistake_is_read_but_never_learnt(dialogue: Make) -> None:
    tokenizer = embedded_tokenizer()
    slipped: dict[str, Any] = dialogue(3)
    slipped["messages"][2]["slip"] = True  # the call; the reply behind its result is right
    segments = dialogue_segments(tokenizer, slipped)
    (wrong,) = [i for i, s in enumerate(segments) if not s.learn]
    before = sum(len(s.ids) for s in segments[:wrong])
    behind = before + len(segments[wrong].ids)
    batch = make_batch([segments], tokenizer.size, random.Random(0))
    assert batch.clean[0, before:behind].tolist() == list(segments[wrong].ids)
    assert not batch.next_weight[0, before - 1 : behind - 1].any()
    assert batch.next_weight[0, behind:].any()
    opened = batch.positions[0][batch.weight[0] > 0]
    assert not ((opened >= before) & (opened < behind - 1)).any()


def test_what_was_heard_before_a_pause_is_read_word_by_word_for_what_came_next(dialogue: Make) -> None:
    tokenizer = embedded_tokenizer()
    paused: dict[str, Any] = dialogue(3)
    paused["messages"][1]["pauses"] = [["I need a.", "table please"]]
    segments = dialogue_segments(tokenizer, paused)
    heard, came = tokenizer.encode(" I need a"), tokenizer.encode(" table")[0]
    batch = make_batch([segments], tokenizer.size, random.Random(0), shifted=True)
    length = sum(len(s.ids) for s in segments)
    last = len(heard)  # the first canvas is the pause's: the caller's mark and what was heard
    assert batch.canvas[0, 1 : last + 1].tolist() == heard
    assert batch.target[0, last] == came and batch.weight[0, last] > 0 and not batch.weight[0, :last].any()
    inside = batch.sees[0, : last + 1, length : length + last + 1]
    assert torch.equal(inside, torch.ones_like(inside).tril())
    before = int(batch.sees[0, last, :length].sum())
    assert batch.clean[0, before] == batch.canvas[0, 0] == USER and batch.positions[0, 0] == before
    # A model that predicts a canvas token in its own place cannot read this way.
    plain = make_batch([segments], tokenizer.size, random.Random(0))
    assert plain.canvas.shape[1] == batch.canvas.shape[1] - last - 1


@settings(max_examples=50)
@given(
    st.lists(st.integers(20, 400), min_size=1, max_size=40),
    st.sampled_from([16, 32, 64]),
    st.integers(0, 999),
)
def test_corruption_marks_what_is_to_be_learnt(body: list[int], size: int, seed: int) -> None:
    target = fill([*body, END], size)
    noisy, learn = corrupt(target, 500, random.Random(seed))
    assert len(target) == len(noisy) == size and any(learn)
    assert all(a == b for a, b, on in zip(target, noisy, learn, strict=True) if not on)
    assert all(on for n, on in zip(noisy, learn, strict=True) if n == MASK)


def test_sources_whose_agent_never_speaks_do_not_train_the_routing(dialogue: Make, tmp_path: Path) -> None:
    def routing(*held: dict[str, Any]) -> float:
        path = tmp_path / "some.jsonl.gz"
        with gzip.open(path, "wt") as file:
            file.writelines(json.dumps(one) + "\n" for one in held)
        (batch,) = Batches(embedded_tokenizer(), {"x": Source((str(path),), 1.0)}, 1, 600).batch(0)
        calls = batch.clean[:, 1:] == CALL
        assert calls.any() and (batch.next_weight[:, 1:][calls] > 0).all(), "the name is learnt in any case"
        return float(batch.next_weight[:, :-1][calls].sum())

    silent = {**dialogue(1), "messages": dialogue(1)["messages"][:3]}
    refusal = [*dialogue(2)["messages"][:2], {"role": "assistant", "content": "Sorry, I cannot."}]
    assert routing(silent, silent) == 0.0
    assert routing(silent, {**dialogue(2), "messages": refusal}) > 0.0, "it calls here and speaks elsewhere"


def test_system_and_results_are_not_learnt_but_the_end_of_the_caller_is(dialogue: Make) -> None:
    segments = dialogue_segments(embedded_tokenizer(), dialogue(1))
    weights = causal_weights(segments)
    at = 0
    for segment in segments:
        part = weights[at : at + len(segment.ids)]
        at += len(segment.ids)
        if segment.kind in ("system", "tool"):
            assert not any(part)
        if segment.kind == "user":
            assert part[-1] == 1.0
    assert isinstance(segments[0], Segment)


@given(st.text(max_size=60), st.integers(0, 99))
def test_damage_keeps_numbers(words: str, seed: int) -> None:
    digits = [c for c in words if c in "0123456789"]
    damaged = damage(words, random.Random(seed))
    kept = iter(c for c in damaged if c in "0123456789")
    assert all(any(c == d for d in kept) for c in digits)


def test_a_word_may_be_broken_off_and_said_again() -> None:
    words = "please reserve something tomorrow"
    broken = 0
    for seed in range(400):
        pieces = [piece.strip("-,") for piece in damage(words, random.Random(seed)).split()]
        pairs = itertools.pairwise(pieces)
        broken += any(1 < len(one) < len(other) and other.startswith(one) for one, other in pairs)
    assert 8 < broken < 60


def test_a_dialogue_keeps_the_tools_it_calls(dialogue: Make) -> None:
    for seed in range(20):
        names = [t["name"] for t in subset_tools(dialogue(1), random.Random(seed))["tools"]]
        assert "book" in names


def test_the_schedule_warms_up_stays_and_falls_to_zero() -> None:
    factors = [schedule(step, 100) for step in range(101)]
    assert factors[0] < 0.5 and factors[50] == 1.0 and factors[100] == 0.0
    assert all(b <= a for a, b in itertools.pairwise(factors[75:]))


def test_a_share_of_the_segments_becomes_canvases(dialogue: Make) -> None:
    tokenizer = embedded_tokenizer()
    segments = dialogue_segments(tokenizer, dialogue(3))
    opened = [
        int(make_batch([segments] * 8, tokenizer.size, random.Random(seed), mix=Mix(0.5)).group.max()) + 1
        for seed in range(20)
    ]
    assert 1.5 < sum(opened) / len(opened) < 3 and PRESETS["cpu-broad"].opened < 1
    assert int(make_batch([segments], tokenizer.size, random.Random(0), mix=Mix(0.0)).group.max()) == -1


def test_a_pair_of_canvases_masks_every_place_once(dialogue: Make) -> None:
    tokenizer = embedded_tokenizer()
    segments = dialogue_segments(tokenizer, dialogue(3))
    paired = 0
    for seed in range(30):
        batch = make_batch([segments], tokenizer.size, random.Random(seed), mix=Mix(complementary=1.0))
        groups = [batch.group[0] == number for number in range(int(batch.group.max()) + 1)]
        for one, other in itertools.pairwise(groups):
            if batch.positions[0][one].tolist() != batch.positions[0][other].tolist():
                continue
            learnt = [(batch.weight[0][group] > 0) for group in (one, other)]
            assert torch.equal(batch.target[0][one], batch.target[0][other])
            assert not (learnt[0] & learnt[1]).any() and (learnt[0] | learnt[1]).all()
            assert batch.canvas[0][other][learnt[1]].eq(MASK).all()
            paired += 1
    assert paired > 15


def test_certainty_forcing_asks_for_sure_answers_only_where_they_are_right(dialogue: Make) -> None:
    tokenizer = embedded_tokenizer()
    batch = make_batch([dialogue_segments(tokenizer, dialogue(3))], tokenizer.size, random.Random(0))
    torch.manual_seed(0)
    model = Transformer(replace(PRESETS["cpu-smoke"].model, vocab=tokenizer.size))

    def denoise(certainty: float) -> float:
        return next(iter(losses(model, [batch], certainty=certainty)))[1].item()

    assert denoise(2.0) == pytest.approx(denoise(0.0)), "an untrained model is right nowhere"
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(12):
        causal, loss = next(iter(losses(model, [batch])))
        (causal + loss).backward()
        optimiser.step()
        optimiser.zero_grad()
    assert denoise(2.0) > denoise(0.0) + 0.05


@pytest.mark.parametrize("shifted", [True, False])
def test_a_canvas_written_twice_knows_what_came_of_the_first_time(dialogue: Make, shifted: bool) -> None:
    tokenizer = embedded_tokenizer()
    rows = [dialogue_segments(tokenizer, dialogue(n)) for n in (3, 4)]
    batch = make_batch(rows, tokenizer.size, random.Random(0), shifted=shifted)
    torch.manual_seed(0)
    shape = replace(
        PRESETS["cpu-smoke"].model, vocab=tokenizer.size, shifted=shifted, self_conditioning=True, tied=False
    )
    model = Transformer(shape)

    def denoise(twice: bool) -> float:
        return next(iter(losses(model, [batch], twice=twice)))[1].item()

    assert denoise(True) == pytest.approx(denoise(False)), "the gate is shut before it has learnt"
    _, writing = model.train_pass(batch.clean, batch.canvas, batch.positions, batch.sees)
    belief = beliefs(model, writing, batch)
    seen = belief.abs().sum(-1) > 0
    assert seen.any() and not seen[batch.canvas != MASK].any() and not seen[batch.group < 0].any()
    row, at = (int(i) for i in seen.nonzero()[5])
    wanted = model.believed(model.logits(writing[row, at - 1 if shifted else at]))
    torch.testing.assert_close(belief[row, at], wanted)
    with torch.no_grad():
        model.condition.weight.normal_()
    assert abs(denoise(True) - denoise(False)) > 1e-3
    with torch.autocast("cpu", torch.bfloat16):
        sum(next(iter(losses(model, [batch], twice=True)))).backward()
    for weight in (model.condition.weight, model.blocks[0].self_attn.q_proj.weight):
        assert weight.grad is not None and weight.grad.abs().sum() > 0


def test_weights_that_were_not_conditioned_can_become_so(files: tuple[str, str], tmp_path: Path) -> None:
    train_command(arguments(files, tmp_path / "plain", 2))
    again = vars(arguments(files, tmp_path / "conditioned", 3)) | {"init": str(tmp_path / "plain")}
    again["set"] = [*again["set"], "self_conditioning=0.5"]
    train_command(argparse.Namespace(**again))
    model = load(tmp_path / "conditioned")
    assert model.config.self_conditioning and model.condition.weight.abs().sum() > 0
    on = vars(arguments(files, tmp_path / "on", 1)) | {"init": str(tmp_path / "conditioned")}
    train_command(argparse.Namespace(**on))
    assert load(tmp_path / "on").config.self_conditioning, "what weights have learnt to take in they keep"


def test_a_run_weighs_its_losses_as_its_preset_says(
    files: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(name: str, *values: str) -> dict[str, float]:
        args = arguments(files, tmp_path / name, 2)
        args.set = [*args.set, "log_every=1", *values]
        train_command(args)
        rows = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        return dict(rows[1])

    plain = written("plain")
    assert written("again") | {"seconds": 0, "tokens_per_second": 0} == plain | {
        "seconds": 0, "tokens_per_second": 0
    }  # fmt: skip
    for value in ("causal_weight=9.0", "complementary=1.0", "certainty_forcing=9.0", "opened=0.3"):
        assert written(value, value)["denoise"] != plain["denoise"], value
    real = training.losses

    def noted(*given: Any) -> Any:
        asked.append(given[5])
        return real(*given)

    asked: list[bool] = []
    monkeypatch.setattr(training, "losses", noted)
    written("twice", "self_conditioning=0.999")
    assert asked == [True] * 2


def test_names_become_others_in_their_shares(dialogue: Make, tmp_path: Path) -> None:
    def changed(source: str, **shares: float) -> int:
        one = dialogue(1)
        call = {"name": "book", "arguments": {"day": "Zanzibar"}}
        one["messages"][1]["content"] = "Book Zanzibar, please."
        one["messages"][2]["tool_calls"] = [call]
        if source == "concierge":
            call["arguments"] = {"name": "Zanzibar"}
        path = tmp_path / "some.jsonl.gz"
        with gzip.open(path, "wt") as file:
            file.write(json.dumps({**one, "source": source}) + "\n")
        batches = Batches(embedded_tokenizer(), {source: Source((str(path),), 1.0)}, 1, 300, **shares)
        texts = [
            embedded_tokenizer().decode(row.tolist()) for n in range(8) for row in batches.batch(n)[0].clean
        ]
        return sum("zanzibar" not in text.lower() for text in texts)

    assert changed("concierge") == changed("sgd") == 0
    assert changed("concierge", renamed=1.0) > 3 and changed("concierge", resampled=1.0) == 0
    assert changed("sgd", resampled=1.0) > 3 and changed("sgd", renamed=1.0) == 0


def test_other_sources_are_validated_on_too(dialogue: Make, tmp_path: Path) -> None:
    for split in ("train", "valid"):
        with gzip.open(tmp_path / f"sgd.{split}.jsonl.gz", "wt") as file:
            file.write(json.dumps(dialogue(1) | {"split": split}) + "\n")
    preset = replace(PRESETS["cpu-smoke"], shares={"sgd": 0.5, "concierge": 0.5})
    assert held_out(preset, ["c.gz"], str(tmp_path)) == {
        "valid": {"concierge": ["c.gz"]}, "broad": {"sgd": (str(tmp_path / "sgd.valid.jsonl.gz"),)},
    }  # fmt: skip
    assert held_out(PRESETS["cpu-smoke"], ["c.gz"], None) == {"valid": {"concierge": ["c.gz"]}}
    with pytest.raises(FileNotFoundError, match="star"):
        held_out(replace(preset, shares={"star": 1.0}), ["c.gz"], str(tmp_path))


def test_a_run_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(training.time, "monotonic", lambda: clock[0])
    pace = Pace(steps=100, minutes=0.0, spent=0.0)
    for done in range(1, 26):
        clock[0] += 4.0
        pace.step(done)
    assert pace.bar(25) == "[#####...............] 25/100, 5 min left;"


def test_agents_speak_tidily_and_gaps_are_not_learnt() -> None:
    said = ["Take care , *enjoy* it .", "A ____ is a flag.", "At 5:30, for $12.50."]
    messages = [{"role": "assistant", "content": words} for words in said]
    tidy = as_spoken({"messages": [{"role": "user", "content": "so , well"}, *messages]})["messages"]
    assert [m["content"] for m in tidy] == ["so , well", "Take care, enjoy it.", *said[1:]]
    assert [bool(m.get("slip")) for m in tidy] == [False, False, True, False]


def test_a_preset_takes_other_values_but_no_wrong_ones(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = with_values(PRESETS["cpu"], ["causal_weight=0.3", "steps=7", "copying=false"])
    assert (preset.causal_weight, preset.steps, preset.copying) == (0.3, 7, False)
    assert with_values(preset, []) == preset
    for value, told in (
        ("causal=1", "causal_weight"),
        ("steps=many", "a number"),
        ("copying=1", "true or false"),
    ):
        with pytest.raises(PresetError, match=told):
            with_values(preset, [value])
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    given = ["--concierge", files[0], "--concierge-valid", files[1], "--out", str(tmp_path / "out")]
    args = parser.parse_args(["llm", "train", "--preset", "cpu-smoke", *given, "--set", "speed=9"])
    assert args.run(args) == 2 and "speed=9" in capsys.readouterr().err


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999))
def test_renamed_tools_are_called_by_their_new_names(seed: int) -> None:
    rng = random.Random(seed)
    (held,) = generate(seed % 7, 1)
    renamed = rename_tools(held, rng)
    specs = {tool["name"]: tool for tool in renamed["tools"]}
    assert len(specs) == len(held["tools"]) and {"hang_up", "transfer"} & set(specs)
    pairs = list(zip(held["messages"], renamed["messages"], strict=True))
    for before, after in pairs:
        assert before.get("content") == after.get("content")
        for old, new in zip(before.get("tool_calls", ()), after.get("tool_calls", ()), strict=True):
            jsonschema.validate(new["arguments"], specs[new["name"]]["parameters"])
            assert list(new["arguments"].values()) == list(old["arguments"].values())
            assert specs[new["name"]]["description"] == next(
                tool["description"] for tool in held["tools"] if tool["name"] == old["name"]
            )
        if after["role"] == "tool":
            assert after["name"] in specs
    assert rename_tools(held, random.Random(1), share=0.0)["tools"] == held["tools"]


def test_most_tools_get_another_name() -> None:
    (held,) = generate(3, 1)
    old = {tool["name"] for tool in held["tools"]} - {"hang_up", "transfer"}
    kept = [len(old & {t["name"] for t in rename_tools(held, random.Random(i))["tools"]}) for i in range(40)]
    assert sum(kept) / len(kept) < 0.5 * len(old)
