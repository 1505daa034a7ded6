"""Tools of MCP servers for a model: those it can be held to, as they are now."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import overload

from stretto.agent.builtin import BUILT_IN
from stretto.llm.language_model import LanguageModel
from stretto.tools.mcp import McpServers, McpTool
from stretto.tools.mcp_schema import loosened, simplified
from stretto.tools.runner import AnyTool
from stretto.tools.tool import ToolSpec

_log = logging.getLogger("stretto.agent")


class LiveTools(Sequence[AnyTool]):
    """Tools of one's own and those that the servers offer at the moment; a call keeps what it began with."""

    def __init__(self, own: Sequence[AnyTool], servers: McpServers, model: LanguageModel) -> None:
        self._own = own
        self._servers = servers
        self._model = model
        self._known: dict[McpTool, bool] = {}

    @overload
    def __getitem__(self, place: int) -> AnyTool: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[AnyTool]: ...
    def __getitem__(self, place: int | slice) -> AnyTool | Sequence[AnyTool]:
        return self._now()[place]

    def __len__(self) -> int:
        return len(self._now())

    def _now(self) -> list[AnyTool]:
        taken = [tool.spec.name for tool in self._own] + [spec.name for spec in BUILT_IN]
        found: list[AnyTool] = list(self._own)
        for tool in self._servers.tools(taken):
            if tool not in self._known:
                self._known[tool] = fit(tool, self._model, self._servers)
            if self._known[tool]:
                found.append(tool)
        return found


def fit(tool: McpTool, model: LanguageModel, servers: McpServers) -> bool:
    """Give a tool a schema that the model can be held to; False, and told, where there is none.

    What its server would refuse beyond that it refuses itself, and the model reads why.
    """
    spec = tool.spec
    why: Exception | None = None
    for parameters in (spec.parameters, simplified(spec.parameters), loosened(spec.parameters)):
        tool.spec = ToolSpec(spec.name, spec.description, parameters)
        try:
            model.open("", [tool.spec]).close()
        except Exception as error:  # whatever a model has against it: the other tools must not suffer
            why = why or error
            continue
        if why is not None:
            _log.warning("the schema of the tool %s was simplified: %s", spec.name, why)
        return True
    servers.refuse(tool, str(why))
    return False
