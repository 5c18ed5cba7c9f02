"""Reprs of values that may do anything when asked for one."""

from __future__ import annotations

import reprlib
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

# Imported by name, as an action may replace the module's functions.
from signal import SIG_DFL, signal
from typing import Any

try:
    from signal import ITIMER_REAL, SIGALRM, setitimer
except ImportError:  # Windows
    setitimer = None  # type: ignore[assignment]

MAX_REPR = 1_000
"""Characters. A repr in place of a value is a hint, not the data."""
REPR_SECONDS = 10.0
"""How long all reprs of a result may take together."""
_CONTAINERS = frozenset({list, tuple, dict, set, frozenset, deque})
_MAX_DEPTH = 100
_repr = repr
_AGAIN_AFTER = 1.0  # a repr may have caught the first interruption


class _TooSlowError(BaseException):
    pass


class SafeReprs:
    """Takes reprs until its time is used up. For a repr that raises or takes too long, names the type."""

    def __init__(self, seconds: float = REPR_SECONDS) -> None:
        self._left = seconds

    def of(self, value: Any) -> str:
        """Return its repr, cut if long, or a text with its type if it has none."""
        began = time.monotonic()
        try:
            text = str.__getitem__(self._repr(_cut(value)), slice(MAX_REPR + 1))
        except BaseException:  # noqa: BLE001  # a repr may raise anything
            text = f"<{type_name(value)} without a repr>"
        self._left -= time.monotonic() - began
        text = text.encode("utf-8", "backslashreplace").decode()
        return text if len(text) <= MAX_REPR else f"{text[:MAX_REPR]}…"

    def _repr(self, value: Any) -> str:
        if getattr(type(value), "__repr__", None) is object.__repr__:  # harmless, and most have it
            return _repr(value)
        if self._left <= 0:
            raise _TooSlowError
        with _time_limit(self._left):
            return reprlib.repr(value) if _visits(value, MAX_REPR, set()) <= 0 else _repr(value)


def type_name(value: Any) -> str:
    """Return the name of its type, with its module unless that is obvious."""
    kind = type(value)
    try:
        is_built_in = kind.__module__ == "builtins"
        return kind.__name__ if is_built_in else f"{kind.__module__}.{kind.__name__}"
    except Exception:  # noqa: BLE001  # a metaclass may do anything
        return "object"


def _cut(value: Any) -> Any:
    return value[: MAX_REPR + 1] if type(value) in (bytes, bytearray) else value


def _visits(value: Any, left: int, around: set[int]) -> int:
    """Return how many of the visits are left after those that a repr of containers would make.

    Long lists, or lists that contain each other, would take all memory for a text that is cut.
    """
    if type(value) not in _CONTAINERS or id(value) in around:
        return left - 1
    if len(around) > _MAX_DEPTH:
        return 0
    around.add(id(value))
    for item in value.values() if type(value) is dict else value:
        left = _visits(item, left, around)
        if left <= 0:
            break
    around.discard(id(value))
    return left - 1


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Interrupt code that takes longer. Works only for Python code in the main thread, not on Windows."""
    if setitimer is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    began = time.monotonic()
    handler = signal(SIGALRM, _interrupt)
    left, interval = setitimer(ITIMER_REAL, seconds, _AGAIN_AFTER)
    try:
        try:
            yield
        finally:
            setitimer(ITIMER_REAL, 0)
    finally:  # again, as the first may have been interrupted itself
        setitimer(ITIMER_REAL, 0)
        signal(SIGALRM, SIG_DFL if handler is None else handler)
        if left:  # somebody else's alarm
            setitimer(ITIMER_REAL, max(0.001, left - (time.monotonic() - began)), interval)


def _interrupt(_signal: int, _frame: object) -> None:
    raise _TooSlowError
