"""A picture of the browser page after a call: the real server and model, a recording as microphone.

    python tests/bench/page_picture.py [--out FILE] [--say WORDS …] [--dark]

Needs Playwright and a Chromium (`--chromium`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
import soxr
from playwright.sync_api import Page, sync_playwright
from stretto.audio.synthesise import Synthesiser

RATE = 48_000
SAID = ["Do you have a free appointment with a dentist tomorrow?", "I need a taxi, then."]
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--use-fake-ui-for-media-stream --use-fake-device-for-media-stream "
    "--autoplay-policy=no-user-gesture-required"
).split()
HALF_WAY = """() => {
  const found = [];
  for (const canvas of document.querySelectorAll(".canvas:not([hidden])")) {
    const slider = canvas.querySelector("input");
    for (let pass = 1; pass <= Number(slider.max); pass += 1) {
      const show = () => {
        slider.value = pass;
        slider.dispatchEvent(new Event("input"));
      };
      show();
      const tokens = [...canvas.querySelectorAll(".tokens > *")];
      const open = tokens.filter((token) => token.matches(".mask, .fresh")).length / tokens.length;
      found.push({ off: Math.abs(0.5 - open), show, canvas });
    }
  }
  const best = found.reduce((one, other) => (other.off <= one.off ? other : one));
  best.show();
  best.canvas.closest("details").open = true;
}"""
"""Show the pass, of all, after which about half of a canvas is open or just changed."""
GREETING_S = 7.0
ANSWER_S = 7.0
"""Silence of the caller while the agent greets and answers."""


def record(said: list[str], path: Path) -> float:
    """Write the caller's side of the call; how long it is, seconds."""
    voice = Synthesiser(speed=1.05)
    pieces = [np.zeros(int(GREETING_S * RATE), np.int16)]
    for words in said:
        pcm = np.concatenate([chunk.pcm for chunk in voice.synthesise(words)])
        pieces += [soxr.resample(pcm, voice.rate, RATE), np.zeros(int(ANSWER_S * RATE), np.int16)]
    voice.close()
    whole = np.concatenate(pieces)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(whole.astype("<i2").tobytes())
    return len(whole) / RATE


def call(page: Page, seconds: float, out: Path) -> None:
    """Hold the call and take its picture."""
    page.click("#talk")
    page.wait_for_selector("body[data-phase=live]")
    time.sleep(seconds)
    page.click("#talk")
    page.evaluate(HALF_WAY)
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=str(out), full_page=True)
    print(page.inner_text("#turns"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "page.png")
    parser.add_argument("--say", nargs="+", default=SAID)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "caller.wav"
        seconds = record(args.say, recording)
        command = [sys.executable, "-m", "stretto.agent.cli", "serve", "--json", "--port", "0"]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
            sync_playwright() as driver,
        ):
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["url"]
            flags = [*FLAGS, f"--use-file-for-fake-audio-capture={recording}%noloop"]
            browser = driver.chromium.launch(executable_path=args.chromium, args=flags)
            page = browser.new_page(
                viewport={"width": 940, "height": 700},
                device_scale_factor=2,
                color_scheme="dark" if args.dark else "light",
            )
            page.goto(url)
            call(page, seconds, args.out)
            browser.close()
            server.terminate()


if __name__ == "__main__":
    main()
