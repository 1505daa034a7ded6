"""What is kept of a call on disk."""

from __future__ import annotations

import json

from stretto.agent.history import History


def test_half_of_a_surrogate_pair_does_not_end_the_record(tmp_path):
    history = History(tmp_path / "call.jsonl")
    history.written("user", "so \ud800 it is", 0.0)
    history.result(1, "call_1", "look_up", '{"found":"\udc00"}', 1.0)
    history.written("user", "And then?", 2.0)
    history.close()
    kept = [json.loads(line) for line in (tmp_path / "call.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [each["content"] for each in kept] == ["so \ud800 it is", '{"found":"\udc00"}', "And then?"]
