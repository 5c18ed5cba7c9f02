"""The fast way to encode a result that has only JSON's own types."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any, Optional

MAX_PLAIN_DEPTH = 500
"""Levels. Readers give up at about 1000."""
MAX_PLAIN_VALUES = 50_000_000

_PLAIN_TYPES = frozenset({str, int, float, bool, type(None), list, dict})

# Our own encoder, because an action may replace json.dumps and json.JSONEncoder.default.
to_json = json.JSONEncoder(allow_nan=False, ensure_ascii=False).encode


def as_it_is(value: Any) -> Optional[str]:
    """Return the JSON of a value that has only JSON's own types, else None."""
    try:
        text = to_json(value) if _is_plain(value) else None
        return text if text and text.encode("utf-8") else None
    except Exception:  # noqa: BLE001  # NaN, half a character: the slow way handles it
        return None


def _is_plain(value: Any) -> bool:
    # By types alone and level by level: no method of the value is called.
    level, seen = [value], 1
    for _ in range(MAX_PLAIN_DEPTH):
        if not _PLAIN_TYPES.issuperset(map(type, level)):
            return False
        dicts = [item for item in level if type(item) is dict]
        lists = [item for item in level if type(item) is list]
        seen += sum(map(len, dicts)) + sum(map(len, lists))
        if seen > MAX_PLAIN_VALUES or any(
            type(key) is not str for key in chain.from_iterable(dicts)
        ):
            return False
        level = [*chain.from_iterable(lists), *chain.from_iterable(d.values() for d in dicts)]
        if not level:
            return True
    return False
