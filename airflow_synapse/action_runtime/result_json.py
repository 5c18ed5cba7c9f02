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
from collections import deque
from collections.abc import Iterable, KeysView, Mapping, Set, ValuesView
from typing import Any, Optional

MAX_DEPTH = 100
MAX_ELEMENTS = 1_000_000
"""Arrays with more elements are a data set, not a result."""
MAX_REPR = 1_000
MAX_WARNINGS = 20
_LARGEST_INT_BITS = 10_000  # Python refuses to print integers of more than 4300 digits


def result_text(value: Any) -> tuple[str, list[str]]:
    """Return ``{"result": …}`` and one warning for each value that had to be replaced.

    Never raises. NaN and infinities become null, as strict readers refuse them.
    """
    plain = _as_it_is(value)
    if plain is not None:
        return f'{{"result": {plain}}}', []
    encoder = _Encoder()
    text = json.dumps(encoder.encode(value, "result", 0), allow_nan=False)
    return f'{{"result": {text}}}', encoder.told()


def _as_it_is(value: Any) -> Optional[str]:  # the fast way for what is JSON already
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode("utf-8")
        return text if json.loads(text) == value else None
    except Exception:  # noqa: BLE001  # whatever the value does, the slow way copes with it
        return None


class _Encoder:
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.count = 0
        self.around: set[int] = set()

    def told(self) -> list[str]:
        more = self.count - len(self.warnings)
        return self.warnings + ([f"{more} more values were replaced"] if more else [])

    def encode(self, value: Any, path: str, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if id(value) in self.around:
            return self.replaced(value, path, "it contains itself")
        if depth > MAX_DEPTH:
            return self.replaced(value, path, f"it is nested more than {MAX_DEPTH} levels deep")
        self.around.add(id(value))
        try:
            return self._by_kind(value, path, depth)
        except Exception as exc:  # noqa: BLE001  # its own methods may raise anything
            return self.replaced(value, path, f"reading it raised {type(exc).__name__}")
        finally:
            self.around.discard(id(value))

    def _by_kind(self, value: Any, path: str, depth: int) -> Any:
        for kinds, encode in _KINDS:
            if isinstance(value, kinds):
                return encode(self, value, path, depth)
        for looks_like, encode in _LOOKS:
            if looks_like(value):
                return encode(self, value, path, depth)
        return self.replaced(value, path, f"JSON can't hold a {_type_name(value)}")

    def number(self, value: float, path: str, _depth: int) -> Optional[float]:
        if math.isfinite(value):
            return float(value)
        self.warn(f"{path} is {float(value)!r}, which JSON can't hold; null took its place")
        return None

    def integer(self, value: int, path: str, _depth: int) -> Any:
        if value.bit_length() <= _LARGEST_INT_BITS:
            return int(value)
        self.warn(f"{path} is an integer of {value.bit_length()} bits; it became hexadecimal text")
        return hex(value)

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
        return [self.encode(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]

    def unordered(self, value: Iterable[Any], path: str, depth: int) -> list[Any]:
        try:
            value = sorted(value)
        except TypeError:
            value = list(value)
        return self.items(value, path, depth)

    def mapping(self, value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, item in value.items():
            name = self._key(key, path, depth)
            if name in plain:
                self.warn(f"{path} has two keys {name!r}; one of them got its type added")
                name = f"{name} ({type(key).__name__})"
            plain[name] = self.encode(item, f"{path}.{name}", depth + 1)
        return plain

    def _key(self, key: Any, path: str, depth: int) -> str:
        plain = self.encode(key, f"a key of {path}", depth + 1)
        return plain if isinstance(plain, str) else json.dumps(plain)

    def fields(self, value: Any, path: str, depth: int) -> dict[str, Any]:
        names = [field.name for field in dataclasses.fields(value)]
        return self._attributes(value, names, path, depth)

    def attrs_fields(self, value: Any, path: str, depth: int) -> dict[str, Any]:
        names = [field.name for field in type(value).__attrs_attrs__]
        return self._attributes(value, names, path, depth)

    def _attributes(self, value: Any, names: list[str], path: str, depth: int) -> dict[str, Any]:
        return self.mapping({n: getattr(value, n) for n in names if hasattr(value, n)}, path, depth)

    def pydantic(self, value: Any, path: str, depth: int) -> Any:
        try:
            plain = value.model_dump(mode="json")
        except Exception:  # noqa: BLE001  # pydantic can't, perhaps we can
            plain = value.model_dump()
        return self.encode(plain, path, depth + 1)

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
        return safe_repr(value)

    def warn(self, text: str) -> None:
        self.count += 1
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(text)


def safe_repr(value: Any) -> str:
    """Return its repr, cut if long; something that tells its type if it has none."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # a repr may raise anything
        text = f"<{_type_name(value)} without a repr>"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= MAX_REPR else f"{text[:MAX_REPR]}…"


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


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
