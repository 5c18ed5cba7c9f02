"""A result as strict JSON: what JSON has no word for is replaced, never thrown away."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import os
import uuid
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, KeysView, Mapping, Set, ValuesView
from contextlib import suppress
from itertools import chain, islice
from typing import Any, Optional

from .safe_repr import SafeReprs, type_name

MAX_DEPTH = 100
MAX_PLAIN_DEPTH = 500
"""Of what is JSON already. Readers give up at about 1000 levels."""
MAX_ELEMENTS = 1_000_000
"""Arrays with more elements are a data set, not a result, and some iterators never end."""
MAX_VALUES = 50_000_000
"""A few lists that contain each other many times are more than memory can hold."""
MAX_WARNINGS = 20
_COST_OF_A_CONTAINER = 8  # in values: so much more memory does it take
_LARGEST_INT_BITS = 10_000  # Python refuses to print integers of more than 4300 digits
_MAX_NAME = 50

_PLAIN_TYPES = frozenset({str, int, float, bool, type(None), list, dict})
_SIZED = (list, tuple, dict, set, frozenset, deque)

# An encoder of our own, as an action may replace json.dumps and json.JSONEncoder.default.
_to_json = json.JSONEncoder(allow_nan=False, ensure_ascii=False).encode


def result_text(value: Any) -> tuple[str, list[str]]:
    """Return ``{"result": …}`` and one warning for each value that had to be replaced.

    Never raises. NaN and infinities become null, as strict readers refuse them.
    """
    encoder = _Encoder()
    with warnings.catch_warnings(module=warnings):
        warnings.simplefilter("ignore")  # an action may have turned them into errors
        text = _as_it_is(value) or _after_all(encoder, value)
    return f'{{"result": {text}}}', encoder.told()


def _as_it_is(value: Any) -> Optional[str]:  # the fast way for what is JSON already
    try:
        text = _to_json(value) if _is_plain(value) else None
        return text if text and text.encode("utf-8") else None
    except Exception:  # noqa: BLE001  # NaN, half a character: the slow way copes with it
        return None


def _after_all(encoder: _Encoder, value: Any) -> str:
    try:
        return _to_json(encoder.encode(value, "result", 0))
    except BaseException as exc:  # noqa: BLE001  # out of memory, for one
        return _to_json(encoder.replaced(value, "result", f"encoding raised {type_name(exc)}"))


def _is_plain(value: Any) -> bool:
    """Return whether it is made of nothing but what JSON has. Looks at types only, level by level."""
    level, seen = [value], 1
    for _ in range(MAX_PLAIN_DEPTH):
        if not _PLAIN_TYPES.issuperset(map(type, level)):
            return False
        dicts = [item for item in level if type(item) is dict]
        lists = [item for item in level if type(item) is list]
        seen += sum(map(len, dicts)) + sum(map(len, lists))
        if seen > MAX_VALUES or any(type(key) is not str for key in chain.from_iterable(dicts)):
            return False
        level = [*chain.from_iterable(lists), *chain.from_iterable(d.values() for d in dicts)]
        if not level:
            return True
    return False


class _TooMuchError(Exception):
    pass


class _Encoder:
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.count = 0
        self.values = 0
        self.around: set[int] = set()
        self.reprs = SafeReprs()

    def told(self) -> list[str]:
        more = self.count - len(self.warnings)
        return self.warnings + ([f"{more} more values were replaced"] if more else [])

    def encode(self, value: Any, path: str, depth: int) -> Any:
        if value is None or type(value) is bool:
            return value
        if id(value) in self.around:
            return self.replaced(value, path, "it contains itself")
        if depth > MAX_DEPTH:
            return self.replaced(value, path, f"it is nested more than {MAX_DEPTH} levels deep")
        self.around.add(id(value))
        try:
            return self._by_kind(value, path, depth)
        except _TooMuchError as exc:
            return self.replaced(value, path, str(exc))
        except BaseException as exc:  # noqa: BLE001  # its own methods may raise anything
            return self.replaced(value, path, f"reading it raised {type_name(exc)}")
        finally:
            self.around.discard(id(value))

    def _by_kind(self, value: Any, path: str, depth: int) -> Any:
        for kinds, encode in _KINDS:
            if isinstance(value, kinds):
                return encode(self, value, path, depth)
        for looks_like, encode in _LOOKS:
            if looks_like(value):
                return encode(self, value, path, depth)
        return self.replaced(value, path, f"JSON can't hold a {type_name(value)}")

    def snapshot(self, value: Any, items: Iterable[Any]) -> list[Any]:
        """Return all items at once: a thread of the action may still be at work on them."""
        limit = max(MAX_ELEMENTS, _true_length(value))
        found = list(islice(items, limit + 1))
        if len(found) > limit:
            raise _TooMuchError(f"it has more than {limit} elements")
        self.values += len(found) + _COST_OF_A_CONTAINER
        if self.values > MAX_VALUES:
            raise _TooMuchError(f"the whole has more than {MAX_VALUES} values")
        return found

    def number(self, value: float, path: str, _depth: int) -> Optional[float]:
        plain = float.__float__(value)
        if math.isfinite(plain):
            return plain
        self.warn(f"{path} is {plain!r}, which JSON can't hold; null took its place")
        return None

    def integer(self, value: int, path: str, _depth: int) -> Any:
        plain = int.__index__(value)
        if _can_be_printed(plain):
            return plain
        self.warn(f"{path} is an integer of {plain.bit_length()} bits; it became hexadecimal text")
        return hex(plain)

    def text(self, value: str, path: str, _depth: int) -> str:
        plain = str.__str__(value)
        try:
            plain.encode("utf-8")
        except UnicodeEncodeError:
            self.warn(f"{path} is not valid Unicode; what is not was escaped")
            return plain.encode("utf-8", "backslashreplace").decode()
        return plain

    def member(self, value: enum.Enum, path: str, depth: int) -> Any:
        return self.encode(value.value, path, depth + 1)

    def items(self, value: Iterable[Any], path: str, depth: int) -> list[Any]:
        return self._each(self.snapshot(value, value), path, depth)

    def _each(self, items: list[Any], path: str, depth: int) -> list[Any]:
        return [self.encode(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(items)]

    def unordered(self, value: Iterable[Any], path: str, depth: int) -> list[Any]:
        items = self.snapshot(value, value)
        try:
            items = sorted(items)
        except Exception:  # noqa: BLE001  # what can't be compared stays in any order
            return self._each(items, path, depth)
        return self._each(items, path, depth)

    def mapping(self, value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, item in self.snapshot(value, value.items()):
            name = self._free_name(plain, key, path, depth)
            plain[name] = self.encode(item, f"{path}.{_shown(name)}", depth + 1)
        return plain

    def _free_name(self, taken: dict[str, Any], key: Any, path: str, depth: int) -> str:
        plain = self.encode(key, f"a key of {path}", depth + 1)
        name = plain if isinstance(plain, str) else _to_json(plain)
        if name in taken:
            self.warn(f"{path} has two keys {_shown(name)!r}; one of them got its type added")
        while name in taken:
            name = f"{name} ({type_name(key)})"
        return name

    def fields(self, value: Any, path: str, depth: int) -> dict[str, Any]:
        names = [field.name for field in dataclasses.fields(value)]
        return self._attributes(value, names, path, depth)

    def attrs_fields(self, value: Any, path: str, depth: int) -> dict[str, Any]:
        names = [field.name for field in type(value).__attrs_attrs__]
        return self._attributes(value, names, path, depth)

    def _attributes(
        self, value: Any, names: Iterable[str], path: str, depth: int
    ) -> dict[str, Any]:
        return self.mapping(dict(_readable(value, names)), path, depth)

    def pydantic(self, value: Any, path: str, depth: int) -> Any:
        for given in ({"mode": "json"}, {}):
            with suppress(Exception):  # what pydantic can't, perhaps we can
                return self.encode(value.model_dump(**given), path, depth + 1)
        return self._attributes(value, type(value).model_fields, path, depth)

    def pydantic_v1(self, value: Any, path: str, depth: int) -> Any:
        return self.encode(value.dict(), path, depth + 1)

    def array(self, value: Any, path: str, depth: int) -> Any:
        count = _element_count(value)
        if count > MAX_ELEMENTS:
            return self.replaced(value, path, f"an array of {count} elements is too large")
        plain = value.tolist() if hasattr(value, "tolist") else value.item()
        return plain if _as_it_is(plain) is not None else self.encode(plain, path, depth + 1)

    def replaced(self, value: Any, path: str, why: str) -> str:
        self.warn(f"{path} became text, its repr: {why}")
        return self.reprs.of(value)

    def warn(self, text: str) -> None:
        self.count += 1
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(text)


def _shown(name: str) -> str:
    short = name if len(name) <= _MAX_NAME else f"{name[:_MAX_NAME]}…"
    return short if short.isprintable() else ascii(short)[1:-1]


def _true_length(value: Any) -> int:
    # Not by its own methods, as a subclass may iterate over anything without end.
    kind = next((kind for kind in _SIZED if issubclass(type(value), kind)), None)
    return int(kind.__len__(value)) if kind else 0


def _can_be_printed(value: int) -> bool:
    if value.bit_length() > _LARGEST_INT_BITS:
        return False
    try:
        return bool(str(value))
    except ValueError:  # an action may have lowered the limit
        return False


class _Unreadable:
    def __init__(self, exc: BaseException) -> None:
        self.exc = exc

    def __repr__(self) -> str:
        return f"<reading it raised {type_name(self.exc)}>"


def _readable(value: Any, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    for name in names:
        try:
            yield name, getattr(value, name)
        except AttributeError:
            continue
        except Exception as exc:  # noqa: BLE001  # a property may raise anything; the rest counts
            yield name, _Unreadable(exc)


def _element_count(value: Any) -> int:
    if hasattr(value, "numel"):  # torch, whose size is a method
        return int(value.numel())
    size = getattr(value, "size", 1)
    return size if isinstance(size, int) else 1


def _is_instance_with(value: Any, *names: str) -> bool:
    return not isinstance(value, type) and all(hasattr(type(value), name) for name in names)


def _iso(_encoder: _Encoder, value: Any, _path: str, _depth: int) -> str:
    return str(value.isoformat())


def _seconds(_encoder: _Encoder, value: dt.timedelta, _path: str, _depth: int) -> float:
    return value.total_seconds()


def _string(_encoder: _Encoder, value: Any, path: str, depth: int) -> str:
    return _encoder.text(str(value), path, depth)


def _path(encoder: _Encoder, value: Any, path: str, depth: int) -> Any:
    return encoder.encode(os.fspath(value), path, depth + 1)


_KINDS: tuple[tuple[Any, Any], ...] = (
    (enum.Enum, _Encoder.member),
    (str, _Encoder.text),
    (int, _Encoder.integer),
    (float, _Encoder.number),
    ((dt.datetime, dt.date, dt.time), _iso),
    (dt.timedelta, _seconds),
    ((decimal.Decimal, uuid.UUID), _string),
    (os.PathLike, _path),
    (Mapping, _Encoder.mapping),
    (KeysView, _Encoder.items),
    (Set, _Encoder.unordered),
    ((list, tuple, deque, range, ValuesView), _Encoder.items),
)
"""What is told by its type, the first that fits."""

_LOOKS: tuple[tuple[Any, Any], ...] = (
    (lambda v: _is_instance_with(v, "model_dump", "model_fields"), _Encoder.pydantic),
    (lambda v: _is_instance_with(v, "dict", "__fields__"), _Encoder.pydantic_v1),
    (lambda v: _is_instance_with(v, "__dataclass_fields__"), _Encoder.fields),
    (lambda v: _is_instance_with(v, "__attrs_attrs__"), _Encoder.attrs_fields),
    (lambda v: _is_instance_with(v, "dtype") and hasattr(v, "tolist"), _Encoder.array),
    (lambda v: _is_instance_with(v, "dtype", "item"), _Encoder.array),
)
"""What is told by its looks, so that no library has to be imported for it."""
