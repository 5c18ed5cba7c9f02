"""A Python function as source that can run elsewhere, and what it would miss there. Pure."""

from __future__ import annotations

import ast
import builtins
import dis
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

from airflow_synapse.exceptions import FunctionSourceError

_FUTURE = "from __future__ import annotations"
_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_STORES = frozenset({"STORE_GLOBAL", "STORE_NAME"})
_ALWAYS_THERE = frozenset({*dir(builtins), "__file__"})


@dataclass(frozen=True)
class FunctionSource:
    """A function that is sent to a cluster as the source of a module of its own.

    :param name: The function's name.
    :param source: The module. Its lines have the numbers of the file that the function comes from,
        so that tracebacks can be read beside it.
    """

    name: str
    source: str

    @property
    def module(self) -> str:
        """The name of the module."""
        return f"airflow_task_{self.name}"

    @property
    def entrypoint(self) -> str:
        """What the action runtime is to call."""
        return f"{self.module}:{self.name}"

    @classmethod
    def of(cls, function: Callable[..., Any]) -> FunctionSource:
        """Return the source of a function, less its decorators.

        :raises FunctionSourceError: if it has none that can be read, is no plain function, or uses
            what only its own module has.
        """
        name = getattr(function, "__name__", repr(function))
        if not inspect.isfunction(function) or name == "<lambda>":
            raise FunctionSourceError(function=name, reason="is no function that was made with def")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise FunctionSourceError(function=name, reason="yields, so a call of it runs nothing")
        try:
            lines, first = inspect.getsourcelines(function)
        except (OSError, TypeError) as exc:
            raise FunctionSourceError(function=name, reason="has no source to be read") from exc
        source = _module_source(textwrap.dedent("".join(lines)), first, name)
        _refuse_what_is_missed(name, source)
        return cls(name, source)


def _module_source(text: str, first: int, name: str) -> str:
    """Return the function's text as a module, from the same line number on as before."""
    definition = ast.parse(text).body[0]
    if not isinstance(definition, (ast.FunctionDef, ast.AsyncFunctionDef)):
        raise FunctionSourceError(function=name, reason="is no function that was made with def")
    lines = text.splitlines()
    for number in range(definition.lineno - 1):  # its decorators
        lines[number] = ""
    # Classes look their annotations up when they are made, so there they have to stay as they are.
    has_classes = any(isinstance(node, ast.ClassDef) for node in ast.walk(definition))
    head = "" if has_classes else _FUTURE
    return "\n".join([head, *[""] * (first - 2), *lines, ""])


def _refuse_what_is_missed(name: str, source: str) -> None:
    loaded: set[str] = set()
    stored: set[str] = set()
    for code in _codes(compile(source, f"<{name}>", "exec")):
        for step in dis.get_instructions(code):
            if step.opname in _LOADS:
                loaded.add(str(step.argval))
            elif step.opname in _STORES:
                stored.add(str(step.argval))
    missed = sorted(loaded - stored - _ALWAYS_THERE)
    if missed:
        raise FunctionSourceError(
            function=name,
            reason=f"uses {', '.join(map(repr, missed))} of the module around it, which is not there "
            "in the Ray job",
        )


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
