"""Values without what Airflow puts around them, so that JSON can hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_synapse.plugin.params import MAX_DEPTH

_LEAVES = frozenset({str, int, float, bool, type(None)})
_TEXTS = (str, bytes, bytearray, memoryview)
_Known = dict[int, tuple[Any, Any]]
"""Copies by the id of what they are of, which is beside them, so that no other gets the id."""


def plain(value: Any) -> Any:
    """Return a value without Airflow's lazy sequences of XComs, params and proxies in it.

    What JSON can't hold stays where it is, also what contains itself or is nested too deep, so that it can
    be told by its place.
    """
    return _plain(value, {}, 0)


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
    for key in value:  # Airflow's ParamsDict has its values in the brackets only, not in items()
        copy[key] = _plain(value[key], known, depth)
    return copy


def _plain_list(value: Sequence[Any], known: _Known, depth: int) -> list[Any]:
    copy: list[Any] = []
    known[id(value)] = (value, copy)
    for item in value:
        copy.append(_plain(item, known, depth))  # noqa: PERF401  # extend() costs a frame per level
    return copy
