"""The call to make, as it was sent along, and the object it names."""

from __future__ import annotations

import asyncio
import difflib
import functools
import importlib
import inspect
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CALL_FILE = Path(__file__).with_name("call.json")


class RefusedCallError(Exception):
    """The call can't be made, so none of the action's code was called."""


@dataclass(frozen=True)
class Call:
    """An action and what it is given.

    :param entrypoint: ``package.module:attribute``.
    :param params: Its keyword arguments.
    :param action: The action's name in the manifest.
    """

    entrypoint: str
    params: dict[str, Any]
    action: str

    @property
    def module(self) -> str:
        return self.entrypoint.partition(":")[0]

    @property
    def attribute(self) -> str:
        return self.entrypoint.partition(":")[2]


def read_call(path: Path = CALL_FILE) -> Call:
    """Return the call that was sent along with this runtime."""
    try:
        data = json.loads(path.read_bytes())
        return Call(data["entrypoint"], data["params"], data.get("action") or data["entrypoint"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise RefusedCallError(f"the call in {path} can't be read: {exc!r}") from exc


def load_target(call: Call) -> Any:
    """Import what the entrypoint names. What its module raises passes through."""
    try:
        module = importlib.import_module(call.module)
    except ModuleNotFoundError as exc:
        if exc.name and (call.module + ".").startswith(exc.name + "."):
            raise RefusedCallError(
                f"the entrypoint {call.entrypoint!r} names a module that is not there: {exc.name!r} "
                f"is neither in the plugin folder ({Path.cwd()}) nor installed on the cluster"
            ) from exc
        raise
    try:
        return functools.reduce(getattr, call.attribute.split("."), module)
    except AttributeError as exc:
        raise RefusedCallError(
            f"the entrypoint {call.entrypoint!r} names an attribute that module "
            f"{call.module!r} does not have{_near(call.attribute, module)}"
        ) from exc


def _near(attribute: str, module: Any) -> str:
    names = difflib.get_close_matches(attribute, [n for n in dir(module) if n[0] != "_"])
    return f"; did you mean {' or '.join(map(repr, names))}?" if names else ""


def call_function(function: Any, call: Call) -> Any:
    """Call it with the params as keyword arguments; what it leaves to await is awaited."""
    _check_is_callable(function, call)
    _check_params(function, call)
    value = function(**call.params)
    return asyncio.run(_finish(value)) if inspect.isawaitable(value) else value


async def _finish(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _check_is_callable(function: Any, call: Call) -> None:
    name = f"the entrypoint {call.entrypoint!r}"
    if isinstance(function, type):
        raise RefusedCallError(
            f"{name} is a class, but neither a function nor a subclass of synapse-sdk's BaseAction"
        )
    if not callable(function):
        raise RefusedCallError(
            f"{name} is a {type(function).__name__}, neither a function nor a subclass of "
            "synapse-sdk's BaseAction"
        )
    plain = _without_partial(function)
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise RefusedCallError(
            f"{name} is a generator function, of which a call runs nothing: return a value instead"
        )


def _without_partial(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _check_params(function: Callable[..., Any], call: Call) -> None:
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # something built in: the call itself will tell
        return
    try:
        signature.bind(**call.params)
    except TypeError as exc:
        raise RefusedCallError(_misfit(call, signature, str(exc))) from exc


def _misfit(call: Call, signature: inspect.Signature, told: str) -> str:
    named = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    missing = [n for n, p in named.items() if p.default is p.empty and n not in call.params]
    unknown = [] if takes_any else [name for name in call.params if name not in named]
    parts = [f"it misses {', '.join(map(repr, missing))}"] if missing else []
    parts += [f"it does not take {', '.join(map(repr, unknown))}"] if unknown else []
    reason = " and ".join(parts) or told
    return f"the params of action {call.action!r} don't fit {call.entrypoint}{signature}: {reason}"
