"""Typed Python functions as tools of a language model."""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import importlib.util
import inspect
import json
import logging
import secrets
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from stretto.tools.schema import ArgumentError, arguments_model, first_paragraph, parameters_schema, validate

BUDGET = 2000
"""Characters of JSON that a result may have; longer ones are cut by whole fields and items."""
TIMEOUT_S = 5.0
_MAX_HANGING = 8

_log = logging.getLogger(__name__)


class ToolError(Exception):
    """Raised by a tool to refuse: the message is the result, one plain sentence that can be spoken."""


class ToolLoadError(ValueError):
    """A module of tools cannot be used; the message says what to do."""


@dataclass(frozen=True)
class ToolSpec:
    """What a model is told of a tool; `parameters` is the JSON schema of an object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What a call gave: compact JSON text, or an error that a model can speak about; `ms` it took."""

    content: str | None
    error: str | None
    ms: float

    @property
    def text(self) -> str:
        """What the model reads: the content, or {"error": "..."}."""
        return self.content if self.content is not None else dump({"error": self.error})


class Tool:
    """A function with its schema. Calling the tool itself calls the function, unchecked.

    Args:
        function: typed, async or not. A plain one runs in a thread of its own unless `thread` is False,
            which is for functions that return within microseconds.
        name: the function's own name by default.
        timeout_s: seconds after which the call becomes an error.
        read_only: the tool changes nothing, so it may run before the caller's turn is over.
        confirm: the agent asks the caller first and runs the tool on a yes. A text is the question, with
            arguments in braces: "Shall I book a table for {people}?"; True makes one of the description.

    Raises:
        TypeError: the arguments cannot be described as a JSON schema, or it is `read_only` and to `confirm`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        timeout_s: float = TIMEOUT_S,
        budget: int = BUDGET,
        read_only: bool = False,
        confirm: bool | str = False,
        thread: bool = True,
    ) -> None:
        self.function = function
        self.timeout_s = timeout_s
        self.budget = budget
        self.read_only = read_only
        self.confirm = confirm
        self._thread = thread
        # An object may be callable through an async method, a wrapper may hide an async function.
        ways = (function, inspect.unwrap(function), vars(type(function)).get("__call__"))
        self._is_async = any(inspect.iscoroutinefunction(way) for way in ways)
        name = name or str(getattr(function, "__name__", ""))
        if not name.isidentifier():
            raise TypeError(f"A tool needs a name made of letters, digits and underscores, not '{name}'.")
        if read_only and confirm:
            raise TypeError(f"Tool {name}: it is read_only, so there is nothing to confirm.")
        self._model, self.spec = _described(function, name)
        # Calls that outlived their timeout; held here so that they are not collected while they run.
        self._hanging: set[asyncio.Future[Any]] = set()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Tool({self.spec.name})"

    async def run(self, arguments: Mapping[str, Any], idempotency_key: str = "") -> Result:
        """Check the arguments and run the function once; whatever goes wrong becomes an error result.

        A function that does not end when its time is up is abandoned, and its late result dropped.
        `idempotency_key` is in the context variable `idempotency_key` while the function runs, for
        functions that pass it on to a service of their own; `ToolRunner` is what runs a key once.
        """
        start = time.monotonic()
        name = self.spec.name
        error: str | None = None
        content: str | None = None
        try:
            content = encode(await self._call(validate(self._model, arguments), idempotency_key), self.budget)
        except (ToolError, ArgumentError) as refusal:
            error = str(refusal) or f"{name} failed."
        except Exception as failure:
            _log.warning("tool %s failed", name, exc_info=failure)
            error = f"{name} failed: {_sentence(failure)}"
        return Result(content, error, (time.monotonic() - start) * 1000)

    async def _call(self, arguments: dict[str, Any], key: str) -> Any:
        if len(self._hanging) >= _MAX_HANGING:
            raise ToolError(f"{self.spec.name} is not answering.")
        token = idempotency_key_variable.set(key)
        try:
            future: asyncio.Future[Any]
            if self._is_async:
                future = asyncio.ensure_future(_no_exit(self.function(**arguments)))
            elif self._thread:
                future = _in_thread(lambda: self.function(**arguments))
            else:
                return self.function(**arguments)
        finally:
            idempotency_key_variable.reset(token)
        try:
            done, _ = await asyncio.wait({future}, timeout=self.timeout_s)
        except asyncio.CancelledError:
            self._abandon(future)
            raise
        if not done:
            self._abandon(future)
            raise ToolError(f"{self.spec.name} did not answer within {self.timeout_s:g} seconds.")
        if future.cancelled():
            raise ToolError(f"{self.spec.name} was cancelled.")
        return future.result()

    def _abandon(self, future: asyncio.Future[Any]) -> None:
        if isinstance(future, asyncio.Task):
            future.cancel()
        self._hanging.add(future)
        future.add_done_callback(self._forget)

    def _forget(self, future: asyncio.Future[Any]) -> None:
        self._hanging.discard(future)
        if not future.cancelled() and (late := future.exception()):
            _log.warning("tool %s failed after its time was up: %s", self.spec.name, late)


idempotency_key_variable: contextvars.ContextVar[str] = contextvars.ContextVar("idempotency_key", default="")
"""The idempotency key of the call that is running."""
session_variable: contextvars.ContextVar[str] = contextvars.ContextVar("session", default="")
"""The id of the session whose call is running: keys are unique within it."""
_PROCESS = secrets.token_hex(4)


def call_key() -> str:
    """A key of the call that is running which no call of another session has, within the tool's function.

    For what must act once: a device that remembers it, a database with it in a unique column.
    """
    return f"{session_variable.get() or _PROCESS}-{idempotency_key_variable.get() or secrets.token_hex(4)}"


_DESCRIBED: weakref.WeakKeyDictionary[Any, dict[str, tuple[type[BaseModel], ToolSpec]]] = (
    weakref.WeakKeyDictionary()
)


def _described(function: Callable[..., Any], name: str) -> tuple[type[BaseModel], ToolSpec]:
    """Model and spec; those of a method are made once for all objects of its class."""
    target = inspect.unwrap(function)
    # Types of a closure may differ from one to the next, those of a method cannot.
    known = _DESCRIBED.setdefault(target.__func__, {}) if inspect.ismethod(target) else {}
    if name not in known:
        model = arguments_model(function, name)
        description = first_paragraph(inspect.getdoc(function) or "")
        known[name] = (model, ToolSpec(name, description, parameters_schema(model)))
    return known[name]


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    function: None = None,
    /,
    *,
    name: str | None = None,
    timeout_s: float = TIMEOUT_S,
    budget: int = BUDGET,
    read_only: bool = False,
    confirm: bool | str = False,
    thread: bool = True,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None, /, **options: Any
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a typed function: `@tool` or `@tool(timeout_s=10, name="book")`; see `Tool`."""
    if function is not None:
        return Tool(function, **options)
    return lambda decorated: Tool(decorated, **options)


async def _no_exit(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except SystemExit as error:
        # A task that raises SystemExit would end the whole process.
        raise RuntimeError(repr(error)) from error


def _in_thread(function: Callable[[], Any]) -> asyncio.Future[Any]:
    """Run a function in a daemon thread: unlike the loop's executor, one that hangs holds up nothing."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def body() -> None:
        value: Any = None
        failure: BaseException | None = None
        try:
            value = context.run(function)
        except StopIteration as error:
            # A future refuses StopIteration.
            failure = RuntimeError(f"StopIteration: {error}")
        except BaseException as error:
            failure = error if isinstance(error, Exception) else RuntimeError(repr(error))
        try:
            loop.call_soon_threadsafe(settle, value, failure)
        except RuntimeError:
            _log.warning("a tool ended after its event loop was closed")

    threading.Thread(target=body, daemon=True, name="tool").start()
    return future


def dump(value: Any) -> str:
    """Compact JSON, plain UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def encode(value: Any, budget: int = BUDGET) -> str:
    """A tool's return value as JSON text of at most `budget` characters.

    Dates, dataclasses, enums and pydantic models are written as JSON; None as {"ok":true}.

    Raises:
        ToolError: JSON cannot express the value.
    """
    if value is None:
        value = {"ok": True}
    try:
        plain = to_jsonable_python(value)
        text = dump(plain)
    except (ValueError, TypeError, RecursionError) as error:
        kind = type(value).__name__
        raise ToolError(f"The tool gave a result that cannot be written as JSON ({kind}).") from error
    return text if len(text) <= budget else dump(cut(plain, budget))


def cut(value: Any, budget: int) -> Any:
    """Leave out whole items and fields of a JSON value until its text fits; "cut" marks what is missing."""
    if len(dump(value)) <= budget:
        return value
    if isinstance(value, list):
        room = budget - 24
        kept: list[Any] = []
        for item in value:
            room -= len(dump(item)) + 1
            if room < 0:
                break
            kept.append(item)
        return [*kept, f"... {len(value) - len(kept)} more cut"]
    if isinstance(value, dict):
        fields: dict[str, Any] = {}
        missing: list[str] = []
        room = budget - 2 - len(dump({"cut": [key[:20] for key in value][:8]}))
        for key, inner in value.items():
            size = len(dump({key: inner}))
            nested = isinstance(inner, (list, dict)) and room - len(dump(key)) > 60
            if size <= room:
                fields[key] = inner
            elif nested:
                fields[key] = cut(inner, room - len(dump(key)) - 2)
                missing.append(key[:20])
            else:
                missing.append(key[:20])
            if key in fields:
                room -= len(dump({key: fields[key]}))
        return {**fields, "cut": missing[:8]}
    return f"{str(value)[: max(0, (budget - 40) // 2)]}... (cut)"


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    text = text if len(text) <= 200 else text[:200] + "..."
    return text if text.endswith((".", "!", "?")) else f"{text}."


def load_tools(source: str | Path) -> list[Tool]:
    """The tools of a Python file or of a dotted module name, in the order they are defined.

    A module's tools are its variables that hold a `Tool` or a list of them.

    Raises:
        ToolLoadError: no such module, it fails to load, has no tools, or two of one name.
    """
    text = str(source)
    path = Path(text)
    try:
        if text.endswith(".py") or path.is_file():
            if not path.is_file():
                raise ToolLoadError(f"There is no file {path}. Give a Python file or a dotted module name.")
            module = _load_file(path)
        else:
            module = importlib.import_module(text)
    except ToolLoadError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (text == error.name or text.startswith(f"{error.name}.")):
            raise ToolLoadError(
                f"There is no module {text}. Give a Python file or a dotted module name."
            ) from error
        raise ToolLoadError(f"{text} needs the module {error.name}, which is not installed.") from error
    except Exception as error:
        raise ToolLoadError(f"{text} failed while it was loaded: {type(error).__name__}: {error}") from error
    found: dict[str, Tool] = {}
    for value in vars(module).values():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if not isinstance(item, Tool):
                continue
            if found.setdefault(item.spec.name, item) is not item:
                raise ToolLoadError(f"{text} has two tools called {item.spec.name}. Give one another name.")
    if not found:
        raise ToolLoadError(f"{text} has no tools. Put @tool before the functions that the model may call.")
    return list(found.values())


def _load_file(path: Path) -> Any:
    name = f"stretto_tools_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ToolLoadError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    # Types in annotations are looked up in sys.modules.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
