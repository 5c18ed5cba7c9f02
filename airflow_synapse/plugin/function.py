"""Extracts a Python function's source and finds the names that it would miss elsewhere. Pure."""

from __future__ import annotations

import ast
import builtins
import dis
import inspect
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

from airflow_synapse.exceptions import FunctionSourceError

_FUTURE = "from __future__ import annotations\n"
_OPENS_A_BLOCK = "if True:\n"
_Definition = ast.FunctionDef | ast.AsyncFunctionDef
_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_STORES = frozenset({"STORE_GLOBAL", "STORE_NAME"})
_ALWAYS_THERE = frozenset({*dir(builtins), "__annotations__", "__file__"})


@dataclass(frozen=True)
class FunctionSource:
    """A function that is sent to a cluster as the source of a module of its own.

    :param name: The function's name.
    :param source: The module. It has the function's lines byte for byte and under their original
        numbers, so strings stay unchanged and tracebacks match the file.
    """

    name: str
    source: str

    @property
    def module(self) -> str:
        """The name of the module."""
        return f"airflow_task_{self.name}"

    @property
    def entrypoint(self) -> str:
        """The entrypoint that the action runtime calls."""
        return f"{self.module}:{self.name}"

    @classmethod
    def of(cls, function: Callable[..., Any]) -> FunctionSource:
        """Return the source of a function without its decorators.

        :raises FunctionSourceError: if its source can't be read, if it is not a plain function, if a
            decorator wraps it, or if it uses a name that only its own module has.
        """
        name = getattr(function, "__name__", repr(function))
        _refuse_what_can_not_be_sent(name, function)
        try:
            lines, first = inspect.getsourcelines(function)
        except (OSError, TypeError, tokenize.TokenError) as exc:
            raise FunctionSourceError(
                function=name, reason="has no source that can be read"
            ) from exc
        try:
            definition = _definition(lines, first)
            source = _module_source(function, lines[definition.lineno - first :], definition)
            missed = _missed(compile(source, f"<{name}>", "exec", dont_inherit=True))
        except SyntaxError as exc:
            raise FunctionSourceError(
                function=name,
                reason=f"is not valid Python on its own ({exc.msg}, line {exc.lineno})",
            ) from exc
        if missed:
            raise FunctionSourceError(
                function=name,
                reason=f"uses {', '.join(map(repr, missed))} from its module, which the Ray job does "
                "not have",
            )
        return cls(definition.name, source)


def _refuse_what_can_not_be_sent(name: str, function: Callable[..., Any]) -> None:
    reason = None
    if hasattr(function, "__wrapped__"):  # inspect unwraps it, so its loss would go unnoticed
        reason = (
            "is wrapped by another decorator, which would be lost; apply it inside the function"
        )
    elif not inspect.isfunction(function) or function.__code__.co_name == "<lambda>":
        reason = "is not a function defined with def"
    elif inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        reason = "is a generator, so calling it would run nothing"
    if reason:
        raise FunctionSourceError(function=name, reason=reason)


def _definition(lines: Sequence[str], first: int) -> _Definition:
    """Return the function as Python reads it, with the line numbers of its file."""
    statement = next(iter(ast.parse("".join(_in_place(lines, first))).body), None)
    if isinstance(statement, ast.If):
        statement = statement.body[0]
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return statement
    raise SyntaxError(
        "its file has changed and no longer has the def there", (None, first, None, None)
    )


def _module_source(
    function: Callable[..., Any], lines: Sequence[str], definition: _Definition
) -> str:
    """Return the function's lines as a module.

    The job does not need the annotations, so they are postponed. Classes may evaluate theirs, so a
    function with a class in it keeps them as its file has them.
    """
    in_place = _in_place(lines, definition.lineno)
    has_classes = any(isinstance(node, ast.ClassDef) for node in ast.walk(definition))
    are_postponed = function.__code__.co_flags & annotations.compiler_flag
    if in_place[0] == "\n" and (are_postponed or not has_classes):
        in_place[0] = _FUTURE
    return "".join(in_place)


def _in_place(lines: Sequence[str], first: int) -> list[str]:
    """Return lines padded with empty ones, so that the first keeps its line number.

    Indented lines become a block, because dedenting them would change multi-line strings.
    """
    before = ["\n"] * (first - 1)
    if lines[0].startswith((" ", "\t")):
        before[-1:] = [_OPENS_A_BLOCK]
    return [*before, *lines]


def _missed(module: CodeType) -> list[str]:
    """Return the sorted names that a module uses but does not define."""
    loaded: set[str] = set()
    stored: set[str] = set()
    for code in _codes(module):
        for step in dis.get_instructions(code):
            if step.opname in _LOADS:
                loaded.add(str(step.argval))
            elif step.opname in _STORES:
                stored.add(str(step.argval))
    return sorted(loaded - stored - _ALWAYS_THERE)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
