"""Reads the call that was sent with the job, and makes it."""

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
from typing import Any, Optional

CALL_FILE = Path(__file__).with_name("call.json")
_SENT_ALONG = Path(__file__).parent.parent


class RefusedCallError(Exception):
    """The call can't be made, so none of the action's code was called."""


@dataclass(frozen=True)
class Call:
    """An action and its params.

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
    """Import the object that the entrypoint names. Exceptions from its module pass through."""
    module = _import_module(call)
    try:
        target = functools.reduce(getattr, call.attribute.split("."), module)
    except AttributeError as exc:
        raise RefusedCallError(
            f"the entrypoint {call.entrypoint!r} names an attribute that module "
            f"{call.module!r} does not have{_near(call.attribute, module)}"
        ) from exc
    if Path(getattr(module, "__file__", None) or "").parent == _SENT_ALONG:
        # The function was sent as source and the nodes have no such module, so Ray must pickle it
        # by value, as it does with functions of the main script.
        target.__module__ = "__main__"
    return target


def _import_module(call: Call) -> Any:
    try:
        return importlib.import_module(call.module)
    except ModuleNotFoundError as exc:
        if exc.name and (call.module + ".").startswith(exc.name + "."):
            raise RefusedCallError(
                f"the entrypoint {call.entrypoint!r} names a module that does not exist: {exc.name!r} "
                f"is neither in the plugin folder ({Path.cwd()}) nor installed on the cluster"
            ) from exc
        raise
    except SystemExit as exc:
        if failed(exc):
            raise
        raise RefusedCallError(
            f"module {call.module!r} of the entrypoint {call.entrypoint!r} ended the process while "
            "it was imported (sys.exit): call sys.exit only under if __name__ == '__main__'"
        ) from exc


def failed(exc: SystemExit) -> bool:
    """Return whether this exit counts as a failure."""
    return exc.code is not None and not (isinstance(exc.code, int) and exc.code % 256 == 0)


def _near(attribute: str, module: Any) -> str:
    names = difflib.get_close_matches(attribute, [n for n in dir(module) if not n.startswith("_")])
    return f"; did you mean {' or '.join(map(repr, names))}?" if names else ""


JOB_PARAMETER = "job"
"""The parameter by which a function asks for the job's context."""


def asks_for_job(function: Any, call: Call) -> bool:
    """Return whether the function has a parameter for the job's context, and no param takes its name."""
    if JOB_PARAMETER in call.params or not callable(function):
        return False
    try:
        parameter = inspect.signature(function).parameters.get(JOB_PARAMETER)
    except (ValueError, TypeError):  # a built-in
        return False
    return parameter is not None and parameter.kind in (
        parameter.POSITIONAL_OR_KEYWORD,
        parameter.KEYWORD_ONLY,
    )


def call_function(function: Any, call: Call) -> Any:
    """Call it with the params as keyword arguments, and await an awaitable result."""
    _check_is_callable(function, call)
    misfit = _misfit(function, call)
    if misfit and not _is_wrapped(function):
        raise RefusedCallError(misfit)
    try:
        value = function(**call.params)
    except TypeError as exc:
        if misfit and not _entered(function, exc):
            raise RefusedCallError(misfit) from exc
        raise
    return _awaited(value) if inspect.isawaitable(value) else value


def _awaited(awaitable: Awaitable[Any]) -> Any:
    values = []

    async def finish() -> None:
        values.append(await awaitable)

    try:
        asyncio.run(finish())
    except BaseException as exc:
        # A leftover task may raise when it is cancelled, after the work is done.
        if not values or isinstance(exc, KeyboardInterrupt):
            raise
    return values[0]


def _is_wrapped(function: Any) -> bool:
    """Return whether a decorator may change the arguments that it passes on."""
    return hasattr(_without_partial(function), "__wrapped__")


def _entered(function: Any, exc: BaseException) -> bool:
    code = getattr(inspect.unwrap(_without_partial(function)), "__code__", None)
    step = exc.__traceback__
    while step is not None and step.tb_frame.f_code is not code:
        step = step.tb_next
    return step is not None


def _check_is_callable(function: Any, call: Call) -> None:
    name = f"the entrypoint {call.entrypoint!r}"
    if isinstance(function, type):
        raise RefusedCallError(f"{name} is a class, but not a subclass of synapse-sdk's BaseAction")
    if not callable(function):
        raise RefusedCallError(
            f"{name} is of type {type(function).__name__}, neither a function nor a subclass of "
            "synapse-sdk's BaseAction"
        )
    plain = _without_partial(function)
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise RefusedCallError(
            f"{name} is a generator function, so calling it runs nothing: return a value instead"
        )


def _without_partial(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _misfit(function: Callable[..., Any], call: Call) -> Optional[str]:
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # a built-in: the call itself will show it
        return None
    try:
        signature.bind(**call.params)
    except TypeError as exc:
        return _told(call, signature, str(exc))
    return None


def _told(call: Call, signature: inspect.Signature, told: str) -> str:
    named = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    missing = [n for n, p in named.items() if p.default is p.empty and n not in call.params]
    unknown = [] if takes_any else [name for name in call.params if name not in named]
    parts = [f"missing {', '.join(map(repr, missing))}"] if missing else []
    parts += [f"unexpected {', '.join(map(repr, unknown))}"] if unknown else []
    reason = " and ".join(parts) or told
    return f"the params of action {call.action!r} don't fit {call.entrypoint}{signature}: {reason}"
