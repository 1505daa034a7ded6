"""The page without a mouse, without eyes, in bad light, without motion."""

from __future__ import annotations

import time

import pytest

PATIENCE_S = 60.0

FAULTS = r"""() => {
  const faults = [], all = (query) => [...document.querySelectorAll(query)];
  const say = (what, element) => faults.push(`${what}: ${element.outerHTML.slice(0, 120)}`);
  const text = (id) => document.getElementById(id)?.textContent ?? "";
  const named = (element) => {
    const by = (element.getAttribute("aria-labelledby") ?? "").split(" ").map(text);
    const labels = [...(element.labels ?? [])].map((label) => label.textContent);
    const own = [element.getAttribute("aria-label") ?? "", element.textContent];
    return [...own, ...by, ...labels].join("").trim();
  };
  const ids = all("[id]").map((element) => element.id);
  if (new Set(ids).size !== ids.length) faults.push("an id twice");
  for (const element of all("button, input, select, textarea, summary, a, [role=switch]")) {
    if (!named(element)) say("no name", element);
    if (element.tabIndex < 0 && !element.disabled) say("cannot be reached", element);
    const { width, height } = element.getBoundingClientRect();
    const shown = element.checkVisibility({ visibilityProperty: true }) && element.type !== "range";
    if (shown && Math.min(width, height) < 20) say("too small", element);
  }
  for (const element of all("[tabindex]")) if (element.tabIndex > 0) say("an order of its own", element);
  for (const element of all("svg, img, canvas")) {
    const told = element.closest("[aria-hidden=true]") || element.getAttribute("aria-label") || element.alt;
    if (!told) say("no words", element);
  }
  for (const element of all("[aria-hidden=true]")) {
    if (element.querySelector("button, input, a, summary")) say("hidden, but reached", element);
  }
  for (const name of ["aria-labelledby", "aria-describedby"]) {
    for (const element of all(`[${name}]`)) {
      const ids = element.getAttribute(name).split(" ");
      if (!ids.every((id) => document.getElementById(id))) say("nothing there", element);
    }
  }
  if (!document.documentElement.lang || !document.title) faults.push("no language or title");
  if (all("h1").length !== 1 || all("main").length !== 1) faults.push("h1 or main");
  let level = 1;
  for (const heading of all("h1, h2, h3, h4")) {
    if (Number(heading.tagName[1]) > level + 1) say("a level left out", heading);
    level = Number(heading.tagName[1]);
  }
  if (document.documentElement.scrollWidth > innerWidth) faults.push("wider than the window");
  return faults;
}"""

CONTRAST = r"""() => {
  const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (color) => {
    probe.clearRect(0, 0, 1, 1);
    probe.fillStyle = color;
    probe.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = probe.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((n) => top[n] * top[3] + below[n] * (1 - top[3]));
  const ground = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
      layers.push(parse(getComputedStyle(each).backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const light = (color) => {
    const [r, g, b] = color.map((part) => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [dark, bright] = [light(one), light(other)].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  };
  const weak = [];
  let checked = 0;
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!text || !element.checkVisibility() || element.closest(".unseen") || element.disabled) continue;
    const style = getComputedStyle(element), below = ground(element), size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    const found = ratio(over(parse(style.color), below), below);
    checked += 1;
    if (found < least) weak.push([found.toFixed(2), element.className, element.textContent.slice(0, 30)]);
  }
  // What is not text but must be told apart; the last bar has its number beside it in bold.
  for (const element of document.querySelectorAll(".bar.ears, .bar.voice, .mark, [role=switch]:checked")) {
    if (!element.checkVisibility()) continue;
    const found = ratio(parse(getComputedStyle(element).backgroundColor), ground(element.parentElement));
    if (found < 3) weak.push([found.toFixed(2), element.className, ""]);
  }
  return { weak, checked };
}"""


def until(told):
    """Ask again and again until the answer is yes."""
    end = time.monotonic() + PATIENCE_S
    while not told():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_call_with_the_keyboard_only(place, caller, browse):
    with place.open() as url:
        page = browse(url, caller.recording(1.0))
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "talk"
        outline = page.evaluate("getComputedStyle(document.activeElement).outline")
        assert "solid" in outline and "0px" not in outline
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-phase=live]")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "mute"
        page.keyboard.press("Space")
        assert page.get_attribute("#mute", "aria-pressed") == "true"
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # the settings
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "by-hand"
        page.keyboard.press("Space")
        assert page.is_visible("#hold")
        page.keyboard.press("Escape")
        assert not page.is_visible("#echo") and page.evaluate("document.activeElement.tagName") == "SUMMARY"
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Shift+Tab")
        assert page.evaluate("document.activeElement.id") == "hold"
        page.keyboard.down("Space")
        assert "held" in page.get_attribute("#hold", "class")
        until(lambda: "input_audio_buffer.clear" in page.evaluate("sent.map(([, event]) => event.type)"))
        page.keyboard.up("Space")
        assert "held" not in page.get_attribute("#hold", "class")
        page.keyboard.press("Shift+Tab")
        assert page.evaluate("document.activeElement.id") == "talk"
        page.keyboard.press("Space")
        until(lambda: page.get_attribute("body", "data-phase") == "idle")
        until(lambda: not place.doors.sessions)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_has_a_name_and_can_be_read(place, caller, browse, scheme):
    with place.open() as url:
        page = browse(url, caller.recording(1.0, "What is the weather like today?", 1.0), color_scheme=scheme)
        assert page.evaluate(FAULTS) == []
        assert page.evaluate(CONTRAST)["weak"] == []
        page.click("#talk")
        until(lambda: page.locator(".timeline").count() and "heard here" in page.inner_text(".timeline"))
        page.click("summary:has-text('Settings')")
        page.evaluate(
            "document.getElementById('door').hidden = document.getElementById('trouble').hidden = false"
        )
        page.evaluate("document.getElementById('trouble-title').textContent = 'Something happened.'")
        assert page.evaluate(FAULTS) == []
        found = page.evaluate(CONTRAST)
        assert found["weak"] == [] and found["checked"] > 30
        # What a screen reader is told: both sides' words, once each, and what state the call is in.
        captions = page.inner_text("#captions").splitlines()
        assert [line.split(":")[0] for line in captions if line] == ["You", "Stretto"]
        assert page.get_attribute("#captions", "aria-live") == "polite"
        assert page.inner_text("#status") == "Connected"
        assert "Denoising pass" in page.locator(".canvas").aria_snapshot()


def test_a_narrow_window(place, caller, browse):
    with place.open() as url:
        page = browse(
            url,
            caller.recording(1.0, "What is the weather like today?", 1.0),
            viewport={"width": 320, "height": 640},
        )
        page.click("#talk")
        until(lambda: page.locator(".timeline").count())
        assert page.evaluate(FAULTS) == []


def test_who_wants_no_motion_sees_the_finished_canvas_at_once(place, caller, browse):
    with place.open() as url:
        page = browse(
            url, caller.recording(1.0, "What is the weather like today?", 1.0), reduced_motion="reduce"
        )
        page.evaluate(
            """() => { window.shown = new Set();
            new MutationObserver(() => {
              const pass = document.querySelector(".canvas .pass")?.textContent;
              if (pass) shown.add(`${pass}/${document.querySelector(".canvas input").max}`);
            }).observe(document.getElementById("turns"), { childList: true, subtree: true }); }"""
        )
        page.click("#talk")
        until(lambda: "heard here" in page.inner_text("#turns"))
        shown = page.evaluate("[...shown]")
        assert "pass 6/6" in shown and all(
            each.split("/")[0] == f"pass {each.split('/')[1]}" for each in shown
        ), shown
