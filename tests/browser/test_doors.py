"""Before and after a call: keys, refusals, a server that goes away, a browser without a microphone."""

from __future__ import annotations

import time

import pytest
from stretto.agent.server.doors import Doors

PATIENCE_S = 60.0


def until(told):
    """Ask again and again until the answer is yes."""
    end = time.monotonic() + PATIENCE_S
    while not told():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def complaints(browse):
    """What the browser complains about; a test takes out what it expects."""
    return browse.complaints


def test_a_server_with_a_key_asks_for_it(place, caller, browse, complaints):
    place.doors = Doors(keys=["open-sesame-please"])
    with place.open() as url:
        page = browse(url, caller.recording(1.0))
        page.click("#talk")
        page.wait_for_selector("#door:not([hidden])")
        assert page.get_attribute("body", "data-phase") == "idle"
        assert page.evaluate("document.activeElement.id") == "key"
        assert page.evaluate("streams.length") == 0  # nobody is asked for a microphone in vain
        page.keyboard.type("open-barley")
        page.keyboard.press("Enter")
        until(lambda: "not known here" in page.inner_text("#door-trouble"))
        page.fill("#key", "schlüssel")
        page.keyboard.press("Enter")
        until(lambda: page.is_visible("#door") and page.get_attribute("body", "data-phase") == "idle")
        assert not place.brain.conversations
        page.fill("#key", "open-sesame-please")
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-phase=live]")
        assert place.doors.sessions == 1 and page.is_hidden("#door")
        # The key itself never stands in an address, and is not kept.
        assert "sesame" not in page.evaluate("performance.getEntries().map(e => e.name).join()")
        assert page.evaluate(
            "JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie])"
        ) == ('[{},{},""]')
    assert complaints and all("401" in each for each in complaints)
    complaints.clear()


def test_a_server_that_goes_away_in_the_middle(place, caller, browse, complaints):
    with place.open() as url:
        page = browse(url, caller.recording(1.0))
        page.click("#talk")
        page.wait_for_selector("body[data-phase=live]")
        place.cut()
        page.wait_for_selector("#trouble:not([hidden])")
        assert page.inner_text("#trouble-title") == "The server is gone."
        assert "stretto serve" in page.inner_text("#trouble-advice")
        assert page.get_attribute("body", "data-phase") == "idle"
        assert page.evaluate("streams[0][1].getTracks()[0].readyState") == "ended"
        # And nobody is there to call again.
        page.click("#talk")
        until(lambda: page.inner_text("#trouble-title") == "The server is not there.")
        assert page.evaluate("streams.length") == 1
    assert all("ERR_CONNECTION" in each for each in complaints)
    complaints.clear()


def test_a_server_that_hangs_up(place, caller, browse):
    with place.open() as url:
        page = browse(url, caller.recording(1.0))
        page.click("#talk")
        page.wait_for_selector("body[data-phase=live]")
        place.hang_up()
        until(lambda: page.get_attribute("body", "data-phase") == "idle")
        told = page.inner_text("#activity")
        assert "shutting down" in told or "ended the call" in told
        assert page.is_hidden("#trouble")


def test_all_lines_are_busy(place, caller, browse, complaints):
    place.doors = Doors(max_sessions=0)
    with place.open() as url:
        page = browse(url, caller.recording(1.0))
        page.click("#talk")
        page.wait_for_selector("#trouble:not([hidden])")
        assert page.inner_text("#trouble-title") == "All lines are busy."
        assert page.evaluate("streams[0][1].getTracks()[0].readyState") == "ended"
    assert all("503" in each for each in complaints)
    complaints.clear()


def test_a_microphone_that_is_refused(place, browse):
    with place.open() as url:
        page = browse(url, allowed=False)
        page.click("#talk")
        page.wait_for_selector("#trouble:not([hidden])")
        assert page.inner_text("#trouble-title") == "The microphone is not allowed."
        assert "Allow it" in page.inner_text("#trouble-advice")
        assert place.doors.sessions == 0
        assert page.evaluate("document.getElementById('trouble').getAttribute('role')") == "alert"


@pytest.mark.parametrize(
    ("fault", "title"),
    [
        ("NotFoundError", "There is no microphone."),
        ("NotReadableError", "The microphone cannot be opened."),
        ("OddError", "The call could not begin."),
    ],
)
def test_a_microphone_that_fails(place, browse, fault, title):
    with place.open() as url:
        page = browse(url)
        page.evaluate(
            """fault => {
            navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("no use", fault); };
        }""",
            fault,
        )
        page.click("#talk")
        page.wait_for_selector("#trouble:not([hidden])")
        assert page.inner_text("#trouble-title") == title
        assert page.get_attribute("body", "data-phase") == "idle" and place.doors.sessions == 0


def test_a_microphone_that_disappears_ends_the_call(place, caller, browse):
    with place.open() as url:
        page = browse(url, caller.recording(1.0))
        page.click("#talk")
        page.wait_for_selector("body[data-phase=live]")
        assert place.doors.sessions == 1
        page.evaluate("streams[0][1].getTracks()[0].dispatchEvent(new Event('ended'))")
        page.wait_for_selector("#trouble:not([hidden])")
        assert page.inner_text("#trouble-title") == "The microphone is gone."
        assert "press Talk again" in page.inner_text("#trouble-advice")
        assert page.get_attribute("body", "data-phase") == "idle"
        until(lambda: place.doors.sessions == 0)
        page.click("#talk")
        page.wait_for_selector("body[data-phase=live]")
        assert page.is_hidden("#trouble") and page.evaluate("streams.length") == 2


def test_a_machine_without_sound(place, caller, browse):
    with place.open() as url:
        page = browse(url, caller.recording(1.0))
        page.evaluate("Object.defineProperty(AudioContext.prototype, 'state', { get: () => 'suspended' })")
        page.click("#talk")
        page.wait_for_selector("#trouble:not([hidden])")
        assert page.inner_text("#trouble-title") == "The browser cannot play sound."
        assert page.evaluate("streams[0][1].getTracks()[0].readyState") == "ended"


def test_hanging_up_while_it_connects(place, caller, browse):
    with place.open() as url:
        page = browse(url, caller.recording(1.0))
        for wait_ms in (0, 50, 200):
            page.click("#talk")
            page.wait_for_timeout(wait_ms)
            page.click("#talk")
            assert page.get_attribute("body", "data-phase") == "idle"
        page.wait_for_timeout(1500)
        until(lambda: place.doors.sessions == 0)
        assert page.evaluate("streams.every(([, s]) => s.getTracks().every(t => t.readyState === 'ended'))")
        assert page.get_attribute("body", "data-phase") == "idle" and page.is_hidden("#trouble")


def test_nothing_inline_runs_on_the_page(place, browse, complaints):
    with place.open() as url:
        page = browse(url)
        ran = page.evaluate(
            """() => {
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", "<p id=styled style='color: rgb(1, 2, 3)'>a</p>");
            return [window.ran === true, getComputedStyle(document.getElementById("styled")).color];
        }"""
        )
        assert ran[0] is False and ran[1] != "rgb(1, 2, 3)"
    assert len(complaints) == 2 and all("Content Security Policy" in each for each in complaints)
    complaints.clear()
