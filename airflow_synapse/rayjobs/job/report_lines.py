"""What a job has reported, and how it is read from the lines of its report. Pure.

An action writes the report, so any line may be garbage.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeGuard

from airflow_synapse.plurals import counted

MAX_VALUES = 1_000_000
"""Values of metrics that are read."""
MAX_NAMES = 5_000
"""Steps, artifacts and names of metrics that are read, of each kind."""
MAX_MESSAGES = 20_000
"""Messages that are read."""

_TOKEN = re.compile(r"[0-9a-f]{16}")
_LONGEST_TEXT = 10_000
_AT_A_TIME = 1_024
_MUCH_GARBAGE = 20_000
"""Lines, after which nobody looks for good ones beside bad ones any more, as that takes time."""


_TOO_LARGE = 2**1023
"""No float holds such an integer."""
_LAST_MOMENT = 2**37
"""Seconds since the epoch. No calendar goes much further."""


@dataclass(frozen=True)
class Progress:
    """How far a part of the work is.

    :param done: What is done.
    :param total: What there is to do; None if the action did not say.
    :param time: When this was reported, in seconds since the epoch.
    :param since: When the part was first reported.
    :param done_at_first: What was done then.
    """

    done: float
    total: float | None = None
    time: float | None = field(default=None, compare=False)
    since: float | None = field(default=None, compare=False)
    done_at_first: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Artifact:
    """A file that an action has kept with its report.

    :param name: One path component. The action chose it, so show it as text.
    :param media_type: What the action says that it is, e.g. ``image/png``. Don't trust it.
    :param size: Bytes.
    :param time: When it was reported, in seconds since the epoch.
    """

    name: str
    media_type: str
    size: int
    time: float | None = field(default=None, compare=False)
    token: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True)
class Message:
    """A message of an action, or of this package about what its report lacks.

    :param time: Seconds since the epoch.
    :param level: debug, info, warning, error or critical.
    :param text: Plain text, whatever it looks like.
    """

    time: float
    level: str
    text: str


@dataclass(frozen=True)
class JobReport:
    """What a job has reported so far. Empty if it has reported nothing.

    :param progress: The last progress of each step. The step is "" if the action named none.
    :param metrics: For each name, its values with their steps, in the order in which they were reported.
    :param artifacts: The files that :meth:`.RayJobExecutor.get_artifact` returns.
    :param messages: Messages in order. Those about what was left out or lost are among them.
    """

    progress: Mapping[str, Progress] = field(default_factory=lambda: MappingProxyType({}))
    metrics: Mapping[str, list[tuple[int, float]]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    artifacts: list[Artifact] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)

    @classmethod
    def lost(cls, reason: str) -> JobReport:
        """Return an empty report that says why."""
        return cls(messages=[_own_message(reason)])


def parse_report(data: bytes, *, is_cut: bool = False) -> JobReport:
    """Return the report that these lines tell. Never raises.

    :param is_cut: Whether there was more, but nobody wanted to read it.
    """
    reading = _Reading()
    lines = data.split(b"\n")[:-1]  # the last one is still being written
    good = [line for line in lines if line[:1] == b"{"]
    reading.garbage = len(lines) - len(good) - lines.count(b"")
    for start in range(0, len(good), _AT_A_TIME):
        reading.take(good[start : start + _AT_A_TIME])
    if is_cut:
        reading.own_messages.append(f"Only the first {len(data)} bytes of the report were read.")
    return reading.report()


class _Reading:
    def __init__(self) -> None:
        self.progress: dict[str, Progress] = {}
        self.metrics: dict[str, list[tuple[int, float]]] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.messages: list[Message] = []
        self.own_messages: list[str] = []
        self.values = self.garbage = self.too_many = 0

    def take(self, lines: list[bytes]) -> None:
        """Take lines, all at once if they are good, as that is five times faster."""
        decoded = _decoded(b"[%s]" % b",".join(lines))
        if isinstance(decoded, list) and len(decoded) == len(lines):
            for fields in decoded:
                self.garbage += not (isinstance(fields, dict) and self._take(fields))
        elif len(lines) > 1 and self.garbage < _MUCH_GARBAGE:
            half = len(lines) // 2
            self.take(lines[:half])
            self.take(lines[half:])
        else:
            self.garbage += len(lines)

    def _take(self, fields: dict[str, Any]) -> bool:
        if "metrics" in fields:
            return self._take_metrics(fields["metrics"], fields.get("step"))
        if "progress" in fields:
            return self._take_progress(fields)
        if "artifact" in fields:
            return self._take_artifact(fields)
        return self._take_message(fields)

    def _take_metrics(self, values: Any, step: Any) -> bool:
        if not isinstance(values, dict) or type(step) is not int:
            return False
        is_valid = True
        for name, value in values.items():
            if not _is_number(value):
                is_valid = False
            elif self.values >= MAX_VALUES or not _has_room(self.metrics, name):
                self.too_many += 1
            else:
                self.values += 1
                self.metrics.setdefault(name, []).append((step, value))
        return is_valid

    def _take_progress(self, fields: dict[str, Any]) -> bool:
        step, done, total = fields["progress"], fields.get("done"), fields.get("total")
        if not (
            isinstance(step, str) and _is_number(done) and (total is None or _is_number(total))
        ):
            return False
        if _has_room(self.progress, step):
            self.progress[step] = Progress(
                done,
                total,
                time=_number_or_none(fields.get("time")),
                since=_number_or_none(fields.get("since")),
                done_at_first=_number_or_none(fields.get("from")),
            )
        else:
            self.too_many += 1
        return True

    def _take_artifact(self, fields: dict[str, Any]) -> bool:
        name, kind, size = fields["artifact"], fields.get("media_type"), fields.get("size")
        token = fields.get("file")
        if not (isinstance(token, str) and _TOKEN.fullmatch(token) and _is_component(name)):
            return False
        if not isinstance(kind, str) or type(size) is not int or size < 0:
            return False
        if _has_room(self.artifacts, name):
            self.artifacts[name] = Artifact(
                name, kind, size, time=_number_or_none(fields.get("time")), token=token
            )
        else:
            self.too_many += 1
        return True

    def _take_message(self, fields: dict[str, Any]) -> bool:
        text, level, at = fields.get("message"), fields.get("level"), fields.get("time")
        if not (isinstance(text, str) and isinstance(level, str) and _is_moment(at)):
            return False
        if len(self.messages) < MAX_MESSAGES:
            self.messages.append(Message(at, level[:20], text[:_LONGEST_TEXT]))
        else:
            self.too_many += 1
        return True

    def report(self) -> JobReport:
        if self.garbage:
            self.own_messages.append(
                f"{counted(self.garbage, 'line')} of the report can't be read."
            )
        if self.too_many:
            self.own_messages.append(f"{self.too_many} more values of the report were left out.")
        return JobReport(
            MappingProxyType(self.progress),
            MappingProxyType(self.metrics),
            list(self.artifacts.values()),
            [*self.messages, *map(_own_message, self.own_messages)],
        )


def _decoded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError, OverflowError):
        return None


def _own_message(text: str) -> Message:
    return Message(round(time.time(), 3), "warning", text)


def _has_room(known: Mapping[str, Any], name: str) -> bool:
    return name in known or len(known) < MAX_NAMES


def _is_number(value: Any) -> TypeGuard[float]:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and not (isinstance(value, int) and abs(value) >= _TOO_LARGE)


def _is_moment(value: Any) -> TypeGuard[float]:
    return _is_number(value) and 0 <= value < _LAST_MOMENT


def _number_or_none(value: Any) -> float | None:
    return value if _is_number(value) else None


def _is_component(name: Any) -> TypeGuard[str]:
    return isinstance(name, str) and name not in ("", ".", "..") and not set("/\\\0") & set(name)
