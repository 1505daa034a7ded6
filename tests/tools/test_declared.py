"""Tools known by their schema: run elsewhere, and never left waiting."""

from __future__ import annotations

import asyncio

import pytest
from stretto.llm.language_model import Call
from stretto.tools.declared import DeclaredTool
from stretto.tools.runner import ToolRunner
from stretto.tools.tool import ToolError

SCHEMA = {"type": "object", "properties": {"room": {"type": "string"}}, "required": ["room"]}


def run(handler, **options):
    runner = ToolRunner([DeclaredTool("light", "Switch it.", SCHEMA, handler, **options)])
    return asyncio.run(runner.run(Call("id-1", "light", {"room": "hall"})))


def test_the_handler_gets_id_and_arguments():
    async def light(call_id, arguments):
        return f"{call_id} {arguments['room']}"

    assert run(light).content == "id-1 hall"


def test_what_goes_wrong_is_a_result():
    async def refuses(call_id, arguments):
        raise ToolError("There is no such room.")

    async def breaks(call_id, arguments):
        raise KeyError("secret")

    async def hangs(call_id, arguments):
        await asyncio.sleep(3600)

    assert run(refuses).error == "There is no such room."
    assert run(breaks).error == "light failed: KeyError."
    assert "0.01 seconds" in run(hangs, timeout_s=0.01).error


def test_names_and_schemas():
    async def handler(call_id, arguments):
        return ""

    assert DeclaredTool("get-weather", "", {}, handler).spec.parameters == {
        "type": "object",
        "properties": {},
    }
    with pytest.raises(TypeError, match="name"):
        DeclaredTool("two words", "", {}, handler)
