"""Reads what the templates of a task's arguments rendered to. Pure.

Airflow renders a template to text, or to the Python value that the text stands for if the DAG has
``render_template_as_native_obj``. So a number may come as text, a name as a number, a mapping as the text of
one, and nothing as None, "" or "None".
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Mapping
from typing import Any

from airflow_synapse.durations import to_number

_NOTHING = ("", "None")
_BRACKETS = ("{", "[", "(")


def to_text(value: Any) -> Any:
    """Return text for a number or a path, None for nothing, and anything else unchanged."""
    if value is None or (isinstance(value, str) and value.strip() in _NOTHING):
        return None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return str(value) if isinstance(value, (int, float)) else value


def to_required_text(value: Any, name: str) -> Any:
    """Return the same as :func:`to_text`.

    :param name: The argument's name, for the error.
    :raises ValueError: if there is nothing.
    """
    text = to_text(value)
    if text is None:
        raise ValueError(f"{name} is {value!r}. If it is a template, it rendered to nothing.")
    return text


def to_amount(value: Any) -> Any:
    """Return a number for its text, None for nothing, and anything else unchanged."""
    return to_number(to_text(value) if isinstance(value, str) else value)


def to_value(value: Any) -> Any:
    """Return the mapping or list that a text stands for, as JSON or as Python writes it.

    Nothing is None. Anything else, other text included, comes back unchanged.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text in _NOTHING:
        return None
    if not text.startswith(_BRACKETS):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return value


def to_amounts(value: Any) -> Any:
    """Return a mapping with a number for each text in it; a name without a value is left out."""
    return _each(to_value(value), to_amount)


def to_texts(value: Any) -> Any:
    """Return a mapping with a text for each number in it; a name without a value is left out."""
    return _each(to_value(value), lambda item: str(item) if _is_number(item) else item)


def to_lines(value: Any) -> Any:
    """Return a list without its empty items, and anything but a list or its text unchanged."""
    given = to_value(value)
    if isinstance(given, (list, tuple)):
        return [item for item in given if to_text(item) is not None]
    return given


def to_runtime_env(value: Any) -> Any:
    """Return a runtime_env whose fields may be the text of what they are."""
    given = to_value(value)
    if not isinstance(given, Mapping):
        return given
    fields = {key: to_value(field) for key, field in given.items()}
    return {key: field for key, field in fields.items() if field is not None}


def _each(given: Any, convert: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    return {key: convert(item) for key, item in given.items() if item is not None}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))
