"""Resampler, playback clock and the clock of what was sent, checked inside the page that uses them."""

from __future__ import annotations

import numpy as np
import pytest

TONE = """async ([from, to, hz, piece, seconds]) => {
  const { Resampler } = await import("/resampler.js");
  const resampler = new Resampler(from, to), made = [];
  const tone = Float32Array.from({ length: from * seconds }, (_, n) => Math.sin(2 * Math.PI * hz * n / from));
  for (let at = 0; at < tone.length; at += piece) {
    const out = new Float32Array(Math.ceil((piece * to) / from) + 2);
    made.push(...out.subarray(0, resampler.process(tone.subarray(at, at + piece), out)));
  }
  return made;
}"""


@pytest.fixture
def page(place, browse):
    with place.open() as url:
        yield browse(url)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (48_000, 24_000),
        (44_100, 24_000),
        (16_000, 24_000),
        (96_000, 24_000),
        (24_000, 48_000),
        (24_000, 44_100),
    ],
)
def test_a_tone_stays_the_same_tone_in_the_same_place(page, source, target):
    made = np.array(page.evaluate(TONE, [source, target, 1000, 128, 0.5]))
    expected = np.sin(2 * np.pi * 1000 * np.arange(len(made)) / target)
    assert target * 0.5 - len(made) < target * 0.01
    inner = slice(target // 50, -1)  # but for the beginning, where silence turned into a tone
    assert np.abs(made[inner] - expected[inner]).max() < 1e-3


@pytest.mark.parametrize("rate", [48_000, 44_100, 96_000])
def test_what_a_lower_rate_cannot_hold_is_filtered_out(page, rate):
    for hz in (12_500, 15_000, 20_000):
        made = np.array(page.evaluate(TONE, [rate, 24_000, hz, 128, 0.25]))
        assert 20 * np.log10(np.abs(made[500:]).max()) < -70, hz
    kept = np.array(page.evaluate(TONE, [rate, 24_000, 9_000, 128, 0.25]))
    assert np.abs(kept[500:]).max() > 0.99


def test_pieces_of_any_length_give_the_same_samples(page):
    whole = np.array(page.evaluate(TONE, [44_100, 24_000, 440, 22_050, 0.5]))
    for piece in (1, 7, 1000):
        made = np.array(page.evaluate(TONE, [44_100, 24_000, 440, piece, 0.5]))
        assert np.array_equal(made, whole[: len(made)])


def test_as_much_comes_out_as_was_asked_for(page):
    counts = page.evaluate(
        """async () => {
        const { Resampler } = await import("/resampler.js"), wrong = [];
        for (const to of [48000, 44100, 16000, 24000, 192000]) {
          const resampler = new Resampler(24000, to);
          for (let n = 0; n < 300; n += 1) {
            const count = 1 + (n * 37) % 200;
            const input = new Float32Array(resampler.inputsFor(count));
            const out = new Float32Array(count);
            if (resampler.process(input, out) !== count) wrong.push([to, n]);
          }
        }
        return wrong;
    }"""
    )
    assert counts == []


QUEUE = """async (script) => {
  const { PlaybackQueue } = await import("/playback-queue.js");
  const events = [], taken = [], cut = [];
  const queue = new PlaybackQueue(1000, 0.1, (event) => events.push([event.kind, event.item, event.offset]));
  for (const [what, ...rest] of script) {
    if (what === "add") queue.add(rest[0], new Float32Array(rest[1]).fill(rest[2] ?? 0.5));
    if (what === "end") queue.end(rest[0]);
    if (what === "stop") cut.push(queue.stop());
    if (what === "take") {
      const out = new Float32Array(rest[0]);
      queue.take(out);
      taken.push([...out]);
    }
  }
  return { events, taken, cut };
}"""


def loud(samples):
    return sum(abs(sample) > 0.1 for sample in samples)


def test_playback_waits_for_a_little_and_then_goes_on(page):
    # At 1000 Hz a sample is a millisecond.
    told = page.evaluate(
        QUEUE,
        [["add", "a", 40], ["take", 20], ["add", "a", 40], ["take", 30], ["add", "a", 20], ["take", 70]],
    )
    assert [loud(each) for each in told["taken"]] == [0, 30, 70]
    assert told["events"] == [["audible", "a", 0]]


def test_a_short_item_that_is_whole_is_played_at_once(page):
    told = page.evaluate(QUEUE, [["add", "a", 10], ["end", "a"], ["take", 20]])
    assert loud(told["taken"][0]) == 10
    assert told["events"] == [["audible", "a", 0], ["ended", "a", 10]]


def test_a_line_that_runs_dry_waits_for_more_the_next_time(page):
    told = page.evaluate(
        QUEUE,
        [["add", "a", 60], ["take", 80], ["add", "a", 100], ["take", 20], ["add", "a", 20], ["take", 120]],
    )
    assert [loud(each) for each in told["taken"]] == [60, 0, 120]
    assert told["events"][:2] == [["audible", "a", 0], ["starved", "a", 60]]


def test_it_is_known_how_much_of_which_item_was_played(page):
    told = page.evaluate(
        QUEUE,
        [
            ["add", "a", 100],
            ["end", "a"],
            ["add", "b", 200, 0.0],
            ["add", "b", 200],
            ["take", 150],
            ["take", 200],
            ["stop"],
            ["add", "b", 100],  # late: it was on its way when everything stopped
            ["take", 100],
        ],
    )
    assert told["cut"] == [[{"item": "b", "ms": 250}]]
    assert told["events"] == [["audible", "a", 0], ["ended", "a", 100], ["audible", "b", 150]]
    assert loud(told["taken"][2]) == 0


def test_what_was_not_begun_was_not_heard(page):
    told = page.evaluate(
        QUEUE, [["add", "a", 100], ["end", "a"], ["take", 50], ["add", "b", 100], ["stop"], ["take", 50]]
    )
    assert told["cut"] == [[{"item": "a", "ms": 50}, {"item": "b", "ms": 0}]]
    assert loud(told["taken"][1]) == 0


def test_after_an_end_a_late_word_waits_again(page):
    told = page.evaluate(
        QUEUE,
        [
            ["add", "a", 60],
            ["take", 60],
            ["end", "a"],
            ["add", "b", 30],
            ["take", 10],
            ["add", "b", 30],
            ["take", 10],
        ],
    )
    assert [kind for kind, *_ in told["events"]] == ["audible", "ended", "audible"]
    assert [loud(each) for each in told["taken"]] == [60, 0, 10]


def test_places_in_what_was_sent_are_times(page):
    times = page.evaluate(
        """async () => {
        const { SentClock } = await import("/sent-clock.js");
        const clock = new SentClock(1000);
        for (const end of [10.02, 10.04, 10.06, 30.02]) clock.sent(20, end); // the last after a gap
        return [0, 20, 30, 60, 61, 80, 81].map((ms) => clock.timeOf(ms)).concat(clock.ms);
    }"""
    )
    assert times[:3] == pytest.approx([10.0, 10.02, 10.03])
    assert times[3:6] == pytest.approx([10.06, 30.001, 30.02]) and times[6] is None and times[7] == 80


def test_the_speaker_knows_what_left_it(page):
    """The real worklet: a tone is played, stopped, and its place told."""
    told = page.evaluate(
        """async () => {
        const { Speaker } = await import("/speaker.js");
        const context = new AudioContext(), events = [];
        await Speaker.prepare(context);
        await context.resume();
        // What the browser knows of it changes while the output starts.
        Object.defineProperty(context, "outputLatency", { value: 0.05 });
        const speaker = new Speaker(context, (kind, item, at) => events.push([kind, item, at]));
        const tone = (ms) => Float32Array.from({ length: 24 * ms }, (_, n) => 0.3 * Math.sin(n / 8));
        speaker.add("first", tone(200));
        speaker.end("first");
        for (let n = 0; n < 20; n += 1) speaker.add("second", tone(200));
        while (!events.some(([kind, item]) => kind === "audible" && item === "second")) {
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        await new Promise((resolve) => setTimeout(resolve, 500));
        const before = context.currentTime;
        const cut = await speaker.stop();
        const began = events.find(([kind, item]) => kind === "audible" && item === "second")[2];
        const again = await speaker.stop();
        await context.close();
        return { cut, again, played: 1000 * (before - began), events };
    }"""
    )
    ((cut,), again) = told["cut"], told["again"]
    assert cut["item"] == "second" and again == []
    # What reached the ear: what was played since it began, but for what is still on its way to it.
    assert cut["ms"] == pytest.approx(told["played"], abs=60)
    assert 0 < cut["ms"] < 4000
    kinds = [(kind, item) for kind, item, _ in told["events"]]
    assert kinds == [("audible", "first"), ("ended", "first"), ("audible", "second")]
    first, _, second = (at for *_, at in told["events"])
    # Not sooner than the first was over; how much later depends on how busy the machine is.
    assert second - first > 0.198
