"""Encodes a result as strict JSON. What JSON can't represent is replaced, never dropped."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import math
import os
import uuid
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, KeysView, Mapping, Set, ValuesView
from contextlib import suppress
from itertools import islice
from typing import Any, Optional

from .plain_json import as_it_is, to_json
from .safe_repr import SafeReprs, type_name

MAX_DEPTH = 100
MAX_ELEMENTS = 1_000_000
"""Arrays with more elements are a data set, not a result, and some iterators never end."""
MAX_REPEATED_VALUES = 2_000_000
"""A few lists that contain each other many times would become more than memory can hold."""
MAX_WARNINGS = 20
_LARGEST_INT_BITS = 10_000  # Python refuses to print integers of more than 4300 digits
_MAX_NAME = 50

_SIZED = (list, tuple, dict, set, frozenset, deque)


def result_text(value: Any) -> tuple[str, list[str]]:
    """Return ``{"result": …}`` and one warning for each value that had to be replaced.

    Never raises. NaN and infinity become null, because strict readers refuse them.
    """
    encoder = _Encoder()
    with warnings.catch_warnings(module=warnings):
        warnings.simplefilter("ignore")  # an action may have turned them into errors
        text = as_it_is(value) or _after_all(encoder, value)
    return f'{{"result": {text}}}', encoder.told()


def _after_all(encoder: _Encoder, value: Any) -> str:
    try:
        return to_json(encoder.encode(value, "result", 0))
    except BaseException as exc:  # noqa: BLE001  # out of memory, for one
        return to_json(encoder.replaced(value, "result", f"encoding raised {type_name(exc)}"))


class _TooMuchError(Exception):
    pass


class _Encoder:
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.count = 0
        self.around: set[int] = set()
        self.seen: dict[int, Any] = {}
        self.repeated = 0
        self.copies = 0
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
        return self.replaced(
            value, path, f"JSON can't represent objects of type {type_name(value)}"
        )

    def snapshot(self, value: Any, items: Iterable[Any]) -> list[Any]:
        """Return all items at once: a thread of the action may still change them."""
        limit = max(MAX_ELEMENTS, _true_length(value))
        found = list(islice(items, limit + 1))
        if len(found) > limit:
            raise _TooMuchError(f"it has more than {limit} elements")
        if not self.copies:  # those were made as we went, and each is met once
            self._count_if_repeated(value, 1 + len(found))
        return found

    def _count_if_repeated(self, value: Any, size: int) -> None:
        if id(value) in self.seen:
            self.repeated += size
        if self.repeated > MAX_REPEATED_VALUES:
            raise _TooMuchError("the result contains the same values too many times")
        self.seen[id(value)] = value  # held, so that nothing else gets its id

    def number(self, value: float, path: str, _depth: int) -> Optional[float]:
        plain = float.__float__(value)
        if math.isfinite(plain):
            return plain
        self.warn(f"{path} is {plain!r}, which JSON can't represent; it became null")
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
            self.warn(f"{path} is not valid Unicode; the invalid characters were escaped")
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
        except Exception:  # noqa: BLE001  # items that can't be compared stay in any order
            return self._each(items, path, depth)
        return self._each(items, path, depth)

    def mapping(self, value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        return self._named(self.snapshot(value, value.items()), path, depth)

    def _named(self, items: list[tuple[Any, Any]], path: str, depth: int) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, item in items:
            name = self._free_name(plain, key, path, depth)
            plain[name] = self.encode(item, f"{path}.{_shown(name)}", depth + 1)
        return plain

    def _free_name(self, taken: dict[str, Any], key: Any, path: str, depth: int) -> str:
        plain = self.encode(key, f"a key of {path}", depth + 1)
        name = plain if isinstance(plain, str) else to_json(plain)
        if name in taken:
            self.warn(f"{path} has two keys {_shown(name)!r}; the type was added to one of them")
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
        return self._named(self.snapshot(value, _readable(value, names)), path, depth)

    def pydantic(self, value: Any, path: str, depth: int) -> Any:
        for given in ({"mode": "json"}, {}):
            with suppress(Exception):  # what pydantic refuses, perhaps we can encode
                return self.copy(value.model_dump(**given), path, depth)
        return self._attributes(value, type(value).model_fields, path, depth)

    def pydantic_v1(self, value: Any, path: str, depth: int) -> Any:
        return self.copy(value.dict(), path, depth)

    def copy(self, plain: Any, path: str, depth: int) -> Any:
        self.copies += 1
        try:
            return self.encode(plain, path, depth + 1)
        finally:
            self.copies -= 1

    def array(self, value: Any, path: str, depth: int) -> Any:
        count = _element_count(value)
        if count > MAX_ELEMENTS:
            return self.replaced(value, path, f"an array of {count} elements is too large")
        plain = value.tolist() if hasattr(value, "tolist") else value.item()
        return plain if as_it_is(plain) is not None else self.copy(plain, path, depth)

    def replaced(self, value: Any, path: str, why: str) -> str:
        self.warn(f"{path} was replaced by its repr: {why}")
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
"""Encoders by type. The first that fits is used."""

_LOOKS: tuple[tuple[Any, Any], ...] = (
    (lambda v: _is_instance_with(v, "model_dump", "model_fields"), _Encoder.pydantic),
    (lambda v: _is_instance_with(v, "dict", "__fields__"), _Encoder.pydantic_v1),
    (lambda v: _is_instance_with(v, "__dataclass_fields__"), _Encoder.fields),
    (lambda v: _is_instance_with(v, "__attrs_attrs__"), _Encoder.attrs_fields),
    (lambda v: _is_instance_with(v, "dtype") and hasattr(v, "tolist"), _Encoder.array),
    (lambda v: _is_instance_with(v, "dtype", "item"), _Encoder.array),
)
"""Encoders by attributes, so that no library has to be imported for them."""
