"""Turns an action's params into JSON and checks them against the action's schema."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_synapse.exceptions import ActionParamsError

MAX_DEPTH = 200
MAX_PROBLEMS = 20
_LEAVES = frozenset({str, int, bool, type(None)})


def encode_params(params: Mapping[str, Any] | None, *, action_name: str | None = None) -> str:
    """Return params as strict JSON text. Tuples become lists, None becomes an empty object.

    :raises ActionParamsError: with the path of each value that JSON can't represent.
    """
    given = {} if params is None else params
    if not isinstance(given, Mapping):
        raise ActionParamsError(
            problems={
                "params": f"is of type {_type_name(given)}, not a mapping of names to values"
            },
            action_name=action_name,
        )
    problems = dict(zip_first(_problems(dict(given)), MAX_PROBLEMS))
    if problems:
        raise ActionParamsError(problems=problems, action_name=action_name)
    try:
        return json.dumps(dict(given), allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as exc:
        raise ActionParamsError(
            problems={"params": f"can't be converted to JSON: {exc}"}, action_name=action_name
        ) from exc


def zip_first(problems: Iterator[tuple[str, str]], count: int) -> Iterator[tuple[str, str]]:
    """Yield at most ``count`` problems."""
    for _, problem in zip(range(count), problems, strict=False):
        yield problem


class _Place:
    """A value and its parents. The path is put together only when there is a problem to report."""

    __slots__ = ("depth", "step", "up", "value")

    def __init__(self, value: Any, up: _Place | None, step: object) -> None:
        self.value = value
        self.up = up
        self.step = step
        self.depth: int = up.depth + 1 if up else 0

    def path(self) -> str:
        if self.up is None:
            return "params"
        step = f"[{self.step}]" if isinstance(self.step, int) else f".{self.step}"
        return f"{self.up.path()}{step}"

    def is_inside_itself(self) -> bool:
        place = self.up
        while place is not None and place.value is not self.value:
            place = place.up
        return place is not None


def _problems(params: dict[Any, Any]) -> Iterator[tuple[str, str]]:
    todo = [_Place(params, None, None)]
    while todo:
        place = todo.pop()
        problem = _container_problem(place)
        if problem:
            yield place.path(), problem
            continue
        yield from _look_inside(place, todo)


def _container_problem(place: _Place) -> str | None:
    if place.is_inside_itself():
        return "contains itself"
    if place.depth > MAX_DEPTH:
        return f"is nested more than {MAX_DEPTH} levels deep"
    return None


def _look_inside(place: _Place, todo: list[_Place]) -> Iterator[tuple[str, str]]:
    inside = place.value
    if isinstance(inside, dict):
        if not all(isinstance(key, str) for key in inside):
            yield from _bad_keys(place)
        items: Any = inside.items()
        values: Any = inside.values()
    else:
        items, values = enumerate(inside), inside
    if _LEAVES.issuperset(map(type, values)):  # the fast way through long lists
        return
    containers = []
    for step, value in items:
        if isinstance(value, (dict, list, tuple)):
            containers.append(_Place(value, place, step))
        else:
            problem = _leaf_problem(value)
            if problem:
                yield _Place(value, place, step).path(), problem
    todo.extend(reversed(containers))


def _bad_keys(place: _Place) -> Iterator[tuple[str, str]]:
    for key in place.value:
        if not isinstance(key, str):
            yield (
                place.path(),
                f"has the key {key!r} of type {_type_name(key)}; JSON keys are strings",
            )


def _leaf_problem(value: Any) -> str | None:
    if value is None or isinstance(value, (str, int)):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"is {float(value)!r}, which JSON can't represent"
    return f"is of type {_type_name(value)}, which JSON can't represent"


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def check_params(
    params: Mapping[str, Any] | None,
    schema: Mapping[str, Any] | None,
    action_name: str | None = None,
) -> None:
    """Check params against an action's JSON Schema, if it has one.

    :raises ActionParamsError: with every problem, keyed by path.
    """
    if schema is None:
        return
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    kind = validator_for(schema, default=Draft202012Validator)
    # With an empty registry, references inside the schema work and nothing is fetched.
    validator = kind(schema, registry=Registry())
    plain = json.loads(encode_params(params, action_name=action_name))
    try:
        errors = zip_first(_schema_problems(validator.iter_errors(plain)), MAX_PROBLEMS)
        problems = _joined(errors)
    except Unresolvable as exc:
        problems = {
            "params": f"can't be checked because the schema refers to something outside it: {exc}"
        }
    if problems:
        raise ActionParamsError(problems=problems, action_name=action_name)


def _schema_problems(errors: Iterator[Any]) -> Iterator[tuple[str, str]]:
    for error in errors:
        path = "params" + "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path
        )
        missing = _missing_name(error)
        if missing is not None:
            yield f"{path}.{missing}", "is missing"
            continue
        message = error.message if len(error.message) <= 200 else f"{error.message[:197]}…"
        yield path, f"does not match the action's schema: {message}"


def _missing_name(error: Any) -> str | None:
    if error.validator != "required":
        return None
    return next(
        (name for name in error.validator_value if error.message.startswith(repr(name))), None
    )


def _joined(problems: Iterator[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for path, problem in problems:
        joined[path] = f"{joined[path]}, and {problem}" if path in joined else problem
    return joined
