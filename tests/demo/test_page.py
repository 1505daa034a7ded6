"""`call.html`: self-contained, complete, and safe whatever was said; `call.json` beside it."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from stretto.agent.call_page.turn_view import turn_views
from stretto.demo.page import page, recorded, write_page
from stretto.demo.spoken_call import SpokenCall, facts, pauses

VOID = {"meta", "input", "br", "img"}


class Reader(HTMLParser):
    """Elements with their attributes; complains about tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))


@pytest.fixture
def fields(call: SpokenCall) -> dict:
    return facts(call, Path("call.wav"), "tiny")


@pytest.fixture
def read(call: SpokenCall, fields: dict) -> Reader:
    reader = Reader()
    reader.feed(page(call, fields))
    assert not reader.open
    return reader


def test_nothing_comes_from_elsewhere(call: SpokenCall, fields: dict, read: Reader) -> None:
    for _, attributes in read.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (name, value)
    styles = "".join(text for tag, text in read.texts if tag == "style")
    assert "@import" not in styles and not re.search(r"url\((?!#)", styles)
    scripts = "".join(text for tag, text in read.texts if tag == "script")
    assert "fetch(" not in scripts and "import(" not in scripts and "http" not in scripts


def test_hostile_words_are_only_words(read: Reader) -> None:
    assert not [element for element in read.elements if element[0] == "img"]
    assert sum(tag == "script" for tag, _ in read.elements) == 2
    shown = " ".join(text for _, text in read.texts)
    assert "onerror=alert(1)" in shown


def test_every_turn_is_there_in_order(call: SpokenCall, read: Reader) -> None:
    sections = [
        attributes for tag, attributes in read.elements if tag == "section" and "data-turn" in attributes
    ]
    assert [section["data-turn"] for section in sections] == ["0", "1", "2", "3"]
    starts = [float(section["data-from"] or 0) for section in sections]
    assert starts == sorted(starts)
    lines = [attributes for tag, attributes in read.elements if tag == "button" and "data-at" in attributes]
    assert [line["data-at"] for line in lines] == [
        "0",
        "2000",
        "3600",
        "5610",
        "8200",
        "10200",
        "13000",
        "14300",
    ]
    words = [text for tag, text in read.texts if tag == "span"]
    for said in ("Hello?", "bye", "Goodbye.", "Done. Anything else?"):
        assert any(text.strip() == said for text in words), said


def test_the_picture_has_every_mark(read: Reader) -> None:
    uses = [attributes["href"] for tag, attributes in read.elements if tag == "use"]
    legend = 4
    assert uses.count("#soft-end") == 4 + 1 and uses.count("#dropped") == 1 + 1
    assert uses.count("#commit") == 4 + 1 and uses.count("#transcript") == 2 + 1
    assert legend == len({"#soft-end", "#dropped", "#commit", "#transcript"})
    classes = [attributes.get("class") or "" for _, attributes in read.elements]
    assert classes.count("pass") == 4 + 1 and classes.count("pause cut") == 3
    assert classes.count("tool") >= 1 and classes.count("tool failed") >= 1
    assert classes.count("answer") == 3 and sum("barge" in name for name in classes) == 1


def test_the_scales_place_the_playhead(call: SpokenCall, read: Reader) -> None:
    pictures = [attributes for tag, attributes in read.elements if tag == "svg" and "data-from" in attributes]
    assert len(pictures) == 1 + len(turn_views(recorded(call)))
    for picture in pictures:
        assert float(picture["data-from"] or 0) < float(picture["data-to"] or 0)
        assert picture["aria-label"] and picture["role"] == "img"


def test_the_passes_are_there_to_be_shown(read: Reader) -> None:
    (data,) = [text for tag, text in read.texts if tag == "script" and text.startswith("[[")]
    turns = json.loads(data)
    assert [len(turn) for turn in turns] == [0, 3, 1, 0]
    assert turns[1][0]["tokens"] == ["For", None] and turns[1][0]["void"]


def test_the_sound_is_the_recording(call: SpokenCall, read: Reader) -> None:
    (source,) = [attributes["src"] for tag, attributes in read.elements if tag == "audio"]
    assert source is not None
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(source.partition("base64,")[2])))
    assert rate == call.rate and len(samples) == len(call.stereo)
    assert np.flatnonzero(samples[:, 0] > 0.1)[0] == pytest.approx(2.0 * rate, abs=0.005 * rate)


def test_a_call_without_any_sound_has_a_page(call: SpokenCall, tmp_path: Path) -> None:
    call.stereo, call.turns, call.events = np.zeros((0, 2), np.int16), [], []
    call.record.turns.clear()
    write_page(call, facts(call, Path("call.wav"), "tiny"), tmp_path / "call.html")
    assert (tmp_path / "call.html").stat().st_size > 1000


def test_the_facts_are_measured_twice(call: SpokenCall, fields: dict) -> None:
    rows = fields["measured"]["turns"]
    assert [row["timeline_ms"] for row in rows] == [600, 800, 500]
    assert [row["file_ms"] for row in rows] == [pytest.approx(ms, abs=0.1) for ms in (610, 800, 500)]
    assert [row["end_apart_ms"] for row in rows] == [10, 0, 0]
    assert fields["measured"]["apart_ms"]["max"] == pytest.approx(10, abs=0.1)
    assert fields["measured"]["file_with_tools_ms"]["p50"] == pytest.approx(610, abs=0.1)
    assert fields["measured"]["file_without_tools_ms"]["max"] == pytest.approx(800, abs=0.1)
    for name in ("turns", "recording", "seconds", "voice_to_voice_ms", "seed", "goal", "goal_met", "weights"):
        assert name in fields
    assert fields["database_changes"][0]["table"] == "t" and fields["completed"]
    json.dumps(fields)


def test_a_pause_that_the_agent_spoke_into_counts(call: SpokenCall, fields: dict) -> None:
    assert [pause.cut_in for pause in pauses(call)] == [True]
    assert fields["pauses"]["total"] == 1 and fields["pauses"]["cut_in"] == 1
    call.events = [event for event in call.events if event.at_ms != 3600]
    assert [(pause.cut_in, pause.committed) for pause in pauses(call)] == [(False, True)], (
        "taken back unheard"
    )
    call.events = [event for event in call.events if event.at_ms > 3700]
    assert [(pause.cut_in, pause.committed) for pause in pauses(call)] == [(False, False)]
