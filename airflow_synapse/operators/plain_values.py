"""Unwraps paths, and Airflow's proxies and lazy values, so that JSON can represent them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_synapse.plugin.params import MAX_DEPTH

_LEAVES = frozenset({str, int, float, bool, type(None)})
_TEXTS = (str, bytes, bytearray, memoryview)
_Known = dict[int, tuple[Any, Any]]
"""Copies keyed by the id of the original. The original is kept so that its id is not reused."""


def plain(value: Any) -> Any:
    """Return a value with Airflow's lazy XCom sequences, params and proxies unwrapped.

    A value that JSON can't represent stays in its place, and so does one that contains itself or is
    nested too deeply. An error can then name that place.
    """
    return _plain(value, {}, 0)


def plain_path(value: Any) -> Any:
    """Return a path as text, and anything else unchanged: text, None, or the XCom of an upstream task."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _plain(value: Any, known: _Known, depth: int) -> Any:
    if type(value) in _LEAVES or depth > MAX_DEPTH:
        return value
    value = getattr(value, "__wrapped__", value)
    if id(value) in known:
        return known[id(value)][1]
    if isinstance(value, Mapping):
        return _plain_dict(value, known, depth + 1)
    if isinstance(value, Sequence) and not isinstance(value, _TEXTS):
        return _plain_list(value, known, depth + 1)
    return value


def _plain_dict(value: Mapping[Any, Any], known: _Known, depth: int) -> dict[Any, Any]:
    copy: dict[Any, Any] = {}
    known[id(value)] = (value, copy)
    for key in value:  # ParamsDict resolves its values in [], but not in items()
        copy[key] = _plain(value[key], known, depth)
    return copy


def _plain_list(value: Sequence[Any], known: _Known, depth: int) -> list[Any]:
    copy: list[Any] = []
    known[id(value)] = (value, copy)
    for item in value:
        copy.append(_plain(item, known, depth))  # noqa: PERF401  # extend() costs a frame per level
    return copy
