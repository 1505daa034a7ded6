"""Calls from the page, end to end: what the microphone hears is answered, shown, and cut short."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
from stretto.llm.language_model import Call, Draft
from stretto.tools.tool import tool

CLIP = Path(__file__).parent.parent / "audio" / "clips" / "austen-0880.flac"
LOUD = 0.01
"""Of full scale: a voice is louder, silence is not."""
PATIENCE_S = 60.0


def until(told, what="it"):
    """Ask again and again until the answer is yes."""
    end = time.monotonic() + PATIENCE_S
    while not (answer := told()):
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.05)
    return answer


def live(page):
    page.wait_for_selector("body[data-phase=live]")


def loud_ms(page, start=0.0):
    """Times of the page's clock at which its output was loud."""
    levels = np.array(page.evaluate("levels"))
    return levels[(levels[:, 0] >= start) & (levels[:, 1] > LOUD), 0] if len(levels) else np.zeros(0)


def sent(page, kind):
    return page.evaluate("kind => sent.filter(([, event]) => event.type === kind)", kind)


def words(text):
    return re.findall(r"\w+", text.lower())


def test_a_callers_recording_is_answered(place, caller, browse):
    with place.open() as url:
        page = browse(url, caller.recording(1.5, CLIP, 1.0))
        page.click("#talk")
        live(page)
        until(lambda: len(loud_ms(page)), "sound")
        until(
            lambda: page.evaluate("levels.at(-1)[1]") < LOUD and page.inner_text("#activity") == "Listening"
        )
        (heard,) = [text for role, text in place.brain.last.messages if role == "user"]
        assert {"not", "young", "man"} <= set(words(heard))
        assert page.inner_text(".line.caller .words") == heard
        assert page.inner_text(".line.agent .words") == f"You said {heard}"
        assert heard in page.inner_text("#captions")
        # Some half a second of speech at least.
        assert len(loud_ms(page)) >= 20
        assert page.get_attribute(".canvas input", "max") == "6"
        tokens = page.inner_text(".canvas .tokens")
        assert words(tokens) == words(f"You said {heard}") and not page.query_selector(".canvas .mask")
        page.locator(".canvas input").fill("2")
        assert page.inner_text(".canvas .pass") == "pass 2"
        assert page.query_selector(".canvas .mask") and page.query_selector(".canvas b")
        rows = page.eval_on_selector_all(
            ".timeline tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        )
        at = {name: float(ms) for name, _, ms in rows if ms != "before"}
        assert {"silence noticed", "words final", "turn over", "first sound sent"} <= set(at)
        assert 0 < at["silence noticed"] <= at["words final"] and at["turn over"] <= at["first sound sent"]
        assert any("draft · 6 passes" in name for name, *_ in rows)
        # The browser is at the far end of the server's line: it cannot hear sooner than was sent.
        assert at["heard here"] > at["turn over"]
        assert f"{at['heard here']:.0f} ms" in page.inner_text(".made summary")
        page.click("#talk")
        assert page.inner_text("#activity") == "You have hung up."
        assert page.evaluate("streams[0][1].getTracks()[0].readyState") == "ended"
        until(lambda: not place.doors.sessions, "the end of the call")


def test_words_are_shown_while_they_are_spoken(place, caller, browse):
    with place.open() as url:
        said = "I would like to book a table for four people in the Indian restaurant near the river tonight"
        page = browse(url, caller.recording(1.0, said, 1.0))
        page.evaluate(
            """() => { window.seen = [];
            new MutationObserver(() => {
              const words = document.querySelector(".line.caller .words");
              if (words) seen.push([words.textContent, Boolean(words.querySelector(".tentative"))]);
            }).observe(document.getElementById("turns"), { childList: true, subtree: true }); }"""
        )
        page.click("#talk")
        until(lambda: "restaurant" in page.inner_text("#captions").lower(), "the transcript")
        seen = page.evaluate("seen")
        early = [text for text, tentative in seen if tentative and "table" in text and "river" not in text]
        assert early, seen


def test_speaking_into_a_long_reply_stops_it_and_the_rest_is_forgotten(place, caller, browse):
    story = (
        "Once upon a time there was a king who had a golden ship, and nobody knew where it came from. " * 8
    )
    place.brain.policy = lambda t: "All right." if "enough" in t.words.lower() else story.strip()
    with place.open() as url:
        page = browse(
            url,
            caller.recording(1.5, "Please tell me a long story.", 7.0, "Stop, please, that is enough.", 1.0),
        )
        page.click("#talk")
        live(page)
        until(lambda: sent(page, "conversation.item.truncate"), "the truncation")
        until(lambda: page.locator(".turn").count() == 2 and "All right." in page.inner_text("#turns"))
        (cut_at, cut), *others = sent(page, "conversation.item.truncate")
        assert not others
        # What it played until then was loud; from then on there is silence, until the next reply.
        until(lambda: len(loud_ms(page, cut_at + 400)), "the next reply")
        before = np.array(page.evaluate("levels"))
        before = before[before[:, 0] < cut_at]
        assert np.mean(before[-50:, 1] > LOUD) > 0.5
        levels = np.array(page.evaluate("levels"))
        quiet = levels[(levels[:, 0] > cut_at + 100) & (levels[:, 0] < cut_at + 400), 1]
        assert len(quiet) and quiet.max() < 1e-4
        # The page played as long as it says, to a packet or two.
        first = loud_ms(page)[0]
        assert 1500 < cut["audio_end_ms"] < cut_at - first + 500
        until(lambda: ("assistant", "All right.") in place.brain.last.messages)
        remembered = [text for role, text in place.brain.last.messages if role == "assistant"]
        assert story.startswith(remembered[0]) and 3 < len(remembered[0].split()) < 60
        shown = page.locator(".line.agent .words").first
        assert page.inner_text(".line.agent s.unheard").endswith("where it came from.")
        kept = shown.evaluate("words => words.firstChild.textContent.trim()")
        assert words(kept) == words(remembered[0])
        assert "cut short" in shown.inner_text()


def test_tools_are_shown_with_what_came_of_them(place, caller, browse):
    @tool
    async def find_table(people: int) -> dict:
        """Find a free table."""
        return {"table": "by the window", "time": "19:30"}

    def policy(thought):
        if thought.results:
            return "There is one by the window at half past seven."
        return Draft("One moment.", (Call("id1", "find_table", {"people": 4}),))

    place.tools, place.brain.policy = (find_table,), policy
    with place.open() as url:
        page = browse(url, caller.recording(1.0, "Is there a table for four people tonight?", 1.0))
        page.click("#talk")
        until(lambda: "by the window at half past" in page.inner_text("#turns"), "the reply")
        assert page.inner_text("div.tool code >> nth=0") == "find_table(people: 4)"
        assert "19:30" in page.inner_text("div.tool code.result")
        until(lambda: "find_table" in page.inner_text(".timeline"))
        lines = page.eval_on_selector_all(".lines > *", "lines => lines.map(line => line.className)")
        assert lines == ["line caller", "line agent", "tool", "line agent"]


def test_push_to_talk_and_mute(place, caller, browse):
    story = (
        "Once upon a time there was a king who had a golden ship, and nobody knew where it came from. " * 8
    )
    place.brain.policy = lambda t: story.strip()
    with place.open() as url:
        page = browse(url, caller.recording(0.5, *["Good morning, how are you today?", 5.0] * 40))
        page.click("summary:has-text('Settings')")
        page.check("#by-hand")
        page.click("summary:has-text('Settings')")
        page.click("#talk")
        live(page)
        time.sleep(7.0)
        assert not place.brain.last.words  # nothing is heard while nothing is held
        page.hover("#hold")
        page.mouse.down()
        time.sleep(8.0)  # whenever it began, the greeting is heard once
        page.mouse.up()
        until(lambda: "morning" in page.inner_text("#captions").lower(), "the transcript")
        until(lambda: len(loud_ms(page)), "the reply")
        assert len(sent(page, "input_audio_buffer.commit")) == 1
        time.sleep(1.0)
        page.hover("#hold")
        page.mouse.down()  # into the reply
        until(lambda: sent(page, "conversation.item.truncate"), "the truncation")
        ((cut_at, cut),) = sent(page, "conversation.item.truncate")
        time.sleep(8.0)
        assert cut["audio_end_ms"] > 500 and not len(loud_ms(page, cut_at + 100))
        page.mouse.up()
        until(lambda: page.locator(".turn").count() == 2 and page.locator(".line.agent").count() == 2)
        assert "cut short" in page.inner_text(".line.agent >> nth=0")
        page.click("summary:has-text('Settings')")
        page.uncheck("#by-hand")
        page.click("summary:has-text('Settings')")
        page.click("#mute")
        assert page.get_attribute("#mute", "aria-pressed") == "true"
        assert page.evaluate("streams[0][1].getTracks()[0].enabled") is False
        assert page.is_hidden("#hold")
        page.click("#mute")
        turns = page.locator(".turn").count()
        until(lambda: page.locator(".turn").count() > turns, "a turn by listening")


def test_the_ways_of_listening_are_asked_of_the_browser(place, caller, browse):
    with place.open() as url:
        page = browse(url, caller.recording(1.0))
        page.click("#talk")
        live(page)
        wanted = page.evaluate("streams[0][0]")
        assert wanted["echoCancellation"] is True and wanted["noiseSuppression"] is True
        page.click("summary:has-text('Settings')")
        page.uncheck("#echo")
        until(lambda: page.evaluate("streams.length") == 2)
        wanted = page.evaluate("streams[1][0]")
        assert wanted["echoCancellation"] is False and wanted["noiseSuppression"] is True
        assert page.evaluate("streams[0][1].getTracks()[0].readyState") == "ended"
        assert page.get_attribute("body", "data-phase") == "live"


def test_the_agent_speaks_first_if_it_is_asked_to(place, caller, browse):
    place.options.greeting = "Good morning, this is Stretto."
    with place.open() as url:
        page = browse(url, caller.recording(1.0))
        page.click("#talk")
        until(lambda: len(loud_ms(page)), "the greeting")
        assert "Good morning" in page.inner_text(".line.agent .words")
        page.click("#talk")
        page.click("summary:has-text('Settings')")
        page.uncheck("#greet")
        page.click("#talk")
        live(page)
        time.sleep(1.0)
        assert not page.locator(".turn").count()


@pytest.mark.parametrize("said", ["<img src=x onerror=alert(1)>", "</script><b>bold</b>"])
def test_hostile_words_are_only_words(place, caller, browse, said):
    place.options.greeting = said
    with place.open() as url:
        page = browse(url, caller.recording(1.0))
        page.click("#talk")
        until(lambda: page.locator(".line.agent").count(), "the greeting")
        assert page.inner_text(".line.agent .words").startswith(said)
        assert not page.locator("#turns img").count()
