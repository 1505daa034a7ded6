"""`@tool`: schemas, validation, results, failures, loading."""

from __future__ import annotations

import asyncio
import enum
import functools
import json
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import jsonschema
import pytest
from pydantic import BaseModel, Field
from stretto.tools.tool import (
    Result,
    Tool,
    ToolError,
    ToolLoadError,
    encode,
    idempotency_key_variable,
    load_tools,
    tool,
)

IMPORT = "from stretto.tools.tool import tool\n"


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    street: str
    number: int = 1


@dataclass
class Point:
    x: int
    y: int


def run(of: Tool, arguments: Mapping[str, Any], key: str = "k") -> Result:
    return asyncio.run(of.run(arguments, key))


def content(result: Result) -> Any:
    assert result.error is None
    assert result.content is not None
    return json.loads(result.content)


@tool
async def everything(
    text: str,
    count: int,
    share: float,
    sure: bool,
    size: Literal["small", "large"],
    colour: Colour,
    day: date,
    moment: time,
    at: datetime,
    names: list[str],
    address: Address,
    note: str | None = None,
    old: Optional[int] = None,  # noqa: UP045 - both spellings must work
    limit: int = 3,
    level: Annotated[int, Field(ge=1, le=5)] = 1,
) -> dict[str, Any]:
    """Take one of each.

    This paragraph is for developers.

    Args:
        text: what is said,
            on two lines
        count (int): how many
        note: left out when absent

    Returns:
        all of it
    """
    return {
        "colour": colour,
        "day": day,
        "moment": moment,
        "street": address.street,
        "note": note,
        "limit": limit,
    }


GOOD: dict[str, Any] = {
    "text": "hi",
    "count": 2,
    "share": 0.5,
    "sure": True,
    "size": "small",
    "colour": "red",
    "day": "2026-11-27",
    "moment": "19:30",
    "at": "2026-11-27T19:30:00",
    "names": ["a", "b"],
    "address": {"street": "Oak Street"},
}


def walk(node: Any) -> list[dict[str, Any]]:
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    return ([node] if isinstance(node, dict) else []) + [found for item in inner for found in walk(item)]


def test_schema_describes_every_kind_of_argument() -> None:
    spec = everything.spec
    jsonschema.Draft202012Validator.check_schema(spec.parameters)
    properties = spec.parameters["properties"]
    assert spec.name == "everything"
    assert spec.description == "Take one of each."
    assert list(properties) == [*GOOD, "note", "old", "limit", "level"]
    assert spec.parameters["required"] == list(GOOD)
    assert properties["text"] == {"type": "string", "description": "what is said, on two lines"}
    assert properties["count"] == {"type": "integer", "description": "how many"}
    assert properties["size"]["enum"] == ["small", "large"]
    assert properties["colour"]["enum"] == ["red", "blue"]
    assert (properties["day"]["format"], properties["moment"]["format"]) == ("date", "time")
    assert properties["at"]["format"] == "date-time"
    assert properties["names"] == {"type": "array", "items": {"type": "string"}}
    assert properties["address"]["properties"]["street"] == {"type": "string"}
    assert properties["note"] == {"type": "string", "description": "left out when absent"}
    assert properties["old"] == {"type": "integer"}
    assert properties["limit"] == {"type": "integer", "default": 3}
    assert properties["level"]["maximum"] == 5
    for node in walk(spec.parameters):
        assert not {"title", "anyOf", "$ref", "$defs"} & node.keys() or node is properties
        assert node.get("type") != "null"
    jsonschema.validate(GOOD, spec.parameters)


def test_values_arrive_as_python_types_and_leave_as_json() -> None:
    assert content(run(everything, GOOD)) == {
        "colour": "red",
        "day": "2026-11-27",
        "moment": "19:30:00",
        "street": "Oak Street",
        "note": None,
        "limit": 3,
    }
    assert content(run(everything, {**GOOD, "note": None, "limit": 7}))["limit"] == 7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": "many"}, ["'count'", "whole number", "'many'"]),
        ({"count": None}, ["'count'"]),
        ({"size": "huge"}, ["'size'", "'small' or 'large'", "'huge'"]),
        ({"day": "blue"}, ["'day'", "date"]),
        ({"level": 9}, ["'level'", "less than or equal to 5"]),
        ({"address": {}}, ["needs", "'address.street'"]),
        ({"extra": 1}, ["no argument 'extra'"]),
    ],
)
def test_bad_arguments_are_named(change: dict[str, Any], words: list[str]) -> None:
    result = run(everything, {**GOOD, **change})
    assert result.content is None
    for word in ["everything", *words]:
        assert word in str(result.error)


def test_missing_argument_is_named() -> None:
    arguments = {key: value for key, value in GOOD.items() if key != "text"}
    assert run(everything, arguments).error == "everything needs the argument 'text'."


def test_arguments_that_are_no_object() -> None:
    assert "must be an object" in str(run(everything, ["a"]).error)  # type: ignore[arg-type]


def test_awkward_argument_names() -> None:
    @tool
    def odd(copy: str, schema: str, model_config: int, _hidden: int = 0) -> list[Any]:
        return [copy, schema, model_config, _hidden]

    assert list(odd.spec.parameters["properties"]) == ["copy", "schema", "model_config", "_hidden"]
    assert content(run(odd, {"copy": "a", "schema": "b", "model_config": 1})) == ["a", "b", 1, 0]


def test_closures_methods_callables_and_wrappers() -> None:
    class Counter:
        def __init__(self) -> None:
            self.value = 0

        async def add(self, amount: int) -> int:
            """Add to it."""
            self.value += amount
            return self.value

        async def __call__(self, amount: int) -> int:
            return amount

    counter = Counter()

    @functools.wraps(counter.add)
    def wrapped(**arguments: Any) -> Any:
        return counter.add(**arguments)

    offset = 10

    def shifted(amount: int) -> int:
        return amount + offset

    assert content(run(tool(counter.add), {"amount": 2})) == 2
    assert tool(counter.add).spec.description == "Add to it."
    assert content(run(tool(name="call")(counter), {"amount": 4})) == 4
    assert content(run(tool(wrapped), {"amount": 3})) == 5
    assert content(run(tool(shifted), {"amount": 1})) == 11
    assert tool(shifted)(1) == 11


def test_plain_functions_leave_the_event_loop_unless_told_not_to() -> None:
    def where() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert content(run(tool(where), {})) is False
    assert content(run(tool(thread=False)(where), {})) is True


def test_what_cannot_be_described_is_refused_at_once() -> None:
    def untyped(value) -> None:  # type: ignore[no-untyped-def]
        ...

    def variadic(*values: int) -> None: ...

    def unknown(value: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    def unfit(value: threading.Thread) -> None: ...

    refused: list[tuple[Callable[..., Any], str]] = [
        (untyped, "give the argument 'value' a type"),
        (variadic, "'values'"),
        (unknown, "Nowhere"),
        (unfit, "cannot be described"),
    ]
    for function, words in refused:
        with pytest.raises(TypeError, match=words):
            tool(function)
    with pytest.raises(TypeError, match="name made of letters"):
        tool(name="two words")(variadic)


@pytest.mark.parametrize(
    "failure", [RuntimeError("the line is down"), SystemExit("no"), StopIteration("x"), KeyError("k")]
)
@pytest.mark.parametrize("kind", ["async", "thread"])
def test_a_tool_that_raises_gives_an_error(failure: BaseException, kind: str) -> None:
    async def slow() -> None:
        raise failure

    def plain() -> None:
        raise failure

    result = run(tool(name="broken")(slow if kind == "async" else plain), {})
    assert result.content is None
    assert str(result.error).startswith("broken failed: ")
    assert str(result.error).endswith(".")
    assert json.loads(result.text) == {"error": result.error}


def test_a_refusal_is_passed_on_as_it_is() -> None:
    @tool
    def refuse() -> None:
        raise ToolError("The kitchen is closed.")

    assert run(refuse, {}).error == "The kitchen is closed."


def test_a_tool_that_hangs_gives_an_error_and_blocks_nothing() -> None:
    release = threading.Event()

    @tool(timeout_s=0.02)
    def hang() -> None:
        release.wait()

    @tool(timeout_s=0.02)
    async def stubborn() -> None:
        for _ in range(2):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    async def both() -> list[Result]:
        return [await hang.run({}, ""), await stubborn.run({}, "")]

    results = asyncio.run(both())
    release.set()
    assert [result.error for result in results] == [
        "hang did not answer within 0.02 seconds.",
        "stubborn did not answer within 0.02 seconds.",
    ]


def test_a_tool_that_always_hangs_does_not_pile_up_threads() -> None:
    release = threading.Event()
    started = []

    @tool(timeout_s=0.01)
    def hang() -> None:
        started.append(1)
        release.wait()

    async def many() -> list[Result]:
        return [await hang.run({}, "") for _ in range(12)]

    results = asyncio.run(many())
    release.set()
    assert len(started) == 8
    assert results[-1].error == "hang is not answering."


def test_the_idempotency_key_reaches_the_function() -> None:
    @tool
    def key() -> str:
        return idempotency_key_variable.get()

    assert content(run(key, {}, "call-7")) == "call-7"
    assert idempotency_key_variable.get() == ""


def test_results_that_json_cannot_express() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    for value in (object(), cycle, float("nan"), threading.Lock()):
        with pytest.raises(ToolError, match="cannot be written as JSON"):
            encode(value)
    assert "cannot be written as JSON" in str(run(tool(name="odd")(lambda: object()), {}).error)


def test_results_of_many_types() -> None:
    assert encode(Point(1, 2)) == '{"x":1,"y":2}'
    assert encode(Address(street="Øst")) == '{"street":"Øst","number":1}'
    assert encode(None) == '{"ok":true}'
    assert encode("done") == '"done"'


def test_a_megabyte_is_cut_to_the_budget() -> None:
    rows = [{"name": f"place {i}", "about": "x" * 100} for i in range(10_000)]
    for value in (
        rows,
        {"count": 10_000, "rows": rows, "tail": "kept"},
        "y" * 1_000_000,
        {"blob": "z" * 1_000_000},
    ):
        text = encode(value)
        assert len(text) <= 2000
        assert "cut" in text
        json.loads(text)
    whole = json.loads(encode({"count": 10_000, "rows": rows, "blob": "z" * 10_000}))
    assert whole["count"] == 10_000
    assert whole["rows"][:2] == rows[:2]
    assert whole["cut"] == ["rows", "blob"]
    assert encode({"rows": rows[:3]}) == encode({"rows": rows[:3]}, budget=10**9)


def test_load_tools_from_file_and_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
from __future__ import annotations
from stretto.tools.tool import tool
@tool
def first(number: int) -> int:
    "One."
    return number
@tool(name="other")
def second() -> None: ...
"""
    file = tmp_path / "desk_tools.py"
    file.write_text(source)
    assert [loaded.spec.name for loaded in load_tools(file)] == ["first", "other"]
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [loaded.spec.name for loaded in load_tools("desk_tools")] == ["first", "other"]
    sys.modules.pop("desk_tools", None)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1", "has no tools"),
        ("import no_such_module_at_all", "needs the module no_such_module_at_all"),
        ("1 / 0", "ZeroDivisionError"),
        ("def (", "SyntaxError"),
        (IMPORT + "a = tool(name='x')(lambda: 1)\nb = tool(name='x')(lambda: 2)", "two tools"),
        (IMPORT + "@tool\ndef f(x): ...", "give the argument 'x' a type"),
    ],
)
def test_load_tools_says_what_is_wrong(tmp_path: Path, source: str, words: str) -> None:
    file = tmp_path / "bad_tools.py"
    file.write_text(source)
    with pytest.raises(ToolLoadError, match=words):
        load_tools(file)


def test_load_tools_without_a_module() -> None:
    with pytest.raises(ToolLoadError, match="no file"):
        load_tools("/nowhere/tools.py")
    with pytest.raises(ToolLoadError, match=r"no module no\.such"):
        load_tools("no.such")
