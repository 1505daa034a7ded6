"""Voice-to-voice times of recorded calls, once more from the stereo files themselves.

    python tests/bench/voice_to_voice.py DIR [DIR …]

Each DIR holds call.wav and call.json of `stretto demo`. From the JSON only the caller's starts and ends are
taken (known before noise was added), and the session's own times to compare with. Exits 1 if the medians of
both measurements are more than 40 ms apart.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from stretto.agent.timeline import summary
from stretto.demo.voice_to_voice import answers_ms, read_agent

APART_MS = 40.0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    args = parser.parse_args()
    rows: list[tuple[float, float, bool]] = []
    print(f"{'call':<16}{'turn':>5}{'timeline':>10}{'file':>8}{'apart':>7}")
    for folder in args.folders:
        fields = json.loads((folder / "call.json").read_text())
        agent, rate = read_agent(folder / "call.wav")
        said = fields["caller_turns"]
        measured = answers_ms(
            agent, rate, [turn["end_ms"] for turn in said], [turn["start_ms"] for turn in said]
        )
        turns = {turn["turn"]: turn for turn in fields["turns"] if turn["caller"]}
        for turn, file_ms in zip(said, measured, strict=True):
            record = turns.get(turn["turn"])
            timeline = record["voice_to_voice_ms"] if record else None
            if file_ms is None or timeline is None or record is None:
                continue
            rows.append((timeline, file_ms, bool(record["tools"])))
            mark = "  tools" if record["tools"] else ""
            times = f"{timeline:>10.0f}{file_ms:>8.0f}{abs(timeline - file_ms):>7.0f}"
            print(f"{folder.name:<16}{turn['turn']:>5}{times}{mark}")
    for name, chosen in (
        ("all", rows),
        ("without tools", [row for row in rows if not row[2]]),
        ("with tools", [row for row in rows if row[2]]),
    ):
        print(f"{name}: timeline {summary([r[0] for r in chosen])}  file {summary([r[1] for r in chosen])}")
    if not rows:
        print("no answer was found", file=sys.stderr)
        return 1
    timeline, file = (summary([row[column] for row in rows])["p50"] for column in (0, 1))
    apart = abs((timeline or 0.0) - (file or 0.0))
    near = sum(abs(a - b) <= APART_MS for a, b, _ in rows)
    print(f"medians {apart:.0f} ms apart; {near} of {len(rows)} turns within {APART_MS:.0f} ms")
    return 0 if apart <= APART_MS else 1


if __name__ == "__main__":
    sys.exit(main())
