"""A call from the page with the embedded models, all of them: heard, answered aloud, cut short.

The language model is small; it is asked for one of the concierge's tools, which it is best at.
"""

from __future__ import annotations

import base64
import re
import time
from datetime import datetime

import numpy as np
import pytest
import soundfile
from stretto.agent.call import SessionOptions
from stretto.tools.concierge.database import Database
from stretto.tools.concierge.tools import concierge, system_text

RATE = 48_000
NOW = datetime(2025, 11, 22, 11)
LOUD = 0.01
"""Of full scale: a voice is louder, silence is not."""
PATIENCE_S = 60.0
INTERRUPTING = """(speech) => {
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    const context = new AudioContext({ sampleRate: 48000 }), line = context.createMediaStreamDestination();
    context.createMediaStreamSource(await ask(wanted)).connect(line);
    window.interrupt = () => {
      const bytes = Uint8Array.from(atob(speech), (character) => character.charCodeAt(0));
      const pcm = Float32Array.from(new Int16Array(bytes.buffer), (sample) => sample / 32768);
      const source = new AudioBufferSourceNode(context, {
        buffer: new AudioBuffer({ length: pcm.length, sampleRate: 48000 }),
      });
      source.buffer.copyToChannel(pcm, 0);
      source.connect(line);
      source.start();
    };
    return line.stream;
  };
}"""
"""The browser's microphone plays its recording as ever; `interrupt()` says something into it."""


def until(told, what):
    """Ask again and again until the answer is yes."""
    end = time.monotonic() + PATIENCE_S
    while not (answer := told()):
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.05)
    return answer


def levels(page, start=0.0, end=np.inf):
    """RMS of the page's output between two times of its clock (ms)."""
    told = np.array(page.evaluate("levels")).reshape(-1, 2)
    return told[(told[:, 0] > start) & (told[:, 0] < end), 1]


def words(text):
    return set(re.findall(r"\w+", text.lower()))


@pytest.fixture
def concierges(place, embedded):
    place.brain = embedded
    database = Database.seed(7, NOW.date(), held_out=True)
    place.tools = tuple(concierge(database, lambda: NOW))
    place.options = SessionOptions(system=system_text(NOW), greeting="")
    return place


def test_a_caller_is_answered_aloud_and_stops_the_answer(concierges, says, browse, tmp_path):
    said = says("I would like to see the dentist on Wednesday.", RATE)
    soundfile.write(tmp_path / "caller.wav", np.concatenate([np.zeros(RATE, np.int16), said]), RATE)
    stop = base64.b64encode(says("Stop, please, that is enough.", RATE).astype("<i2").tobytes()).decode()
    with concierges.open() as url:
        page = browse(url, tmp_path / "caller.wav")
        page.evaluate(INTERRUPTING, stop)
        page.click("#talk")
        # About a second of a voice at the page's output.
        until(lambda: np.count_nonzero(levels(page) > LOUD) > 40, "the answer")
        assert {"dentist", "wednesday"} <= words(page.inner_text(".line.caller .words"))
        assert "find_appointments" in page.inner_text("div.tool code >> nth=0")
        captions = until(lambda: page.inner_text(".line.agent .words"), "the captions")
        assert len(words(captions)) > 3 and "dentist" in page.inner_text("#captions")
        page.evaluate("interrupt()")
        kind = "conversation.item.truncate"
        cuts = until(lambda: page.evaluate("k => sent.filter(([, event]) => event.type === k)", kind), "it")
        (cut_at, cut) = cuts[0]
        until(lambda: len(levels(page, cut_at + 300)), "what is heard then")
        assert levels(page, end=cut_at)[-30:].max() > LOUD
        assert levels(page, cut_at + 100, cut_at + 300).max() < 1e-4
        assert cut["audio_end_ms"] > 500
        until(lambda: "cut short" in page.inner_text(".line.agent >> nth=0"), "the mark")
        until(lambda: page.locator(".turn").count() == 2, "the next turn")
        until(lambda: {"stop", "enough"} <= words(page.inner_text("#turns")), "what was called into it")
