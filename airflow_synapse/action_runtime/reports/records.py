"""Turns what an action reports into plain records, which can be sent and written.

A record is a dict of JSON's types. An artifact's bytes come along with it.
"""

from __future__ import annotations

import io
import logging
import mimetypes
import os
import time
from collections.abc import Mapping
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple, Optional, Union

MAX_ARTIFACT = 64 * 1024 * 1024
"""Bytes. Whatever is larger belongs into the job's storage_path."""
MAX_NAME = 200
"""Characters of the name of a metric, a step or an artifact."""
MAX_TEXT = 8_000
"""Characters of a message."""

_LEVELS = ("debug", "info", "warning", "error", "critical")
_LARGEST_INTEGER = 2**63

Number = Union[int, float]


class Record(NamedTuple):
    """One report.

    :param fields: What is reported.
    :param data: The bytes of an artifact.
    """

    fields: dict[str, Any]
    data: bytes = b""


def progress_record(done: Any, total: Any, step: Any) -> Record:
    """Return how far a step is.

    :raises TypeError: if ``done`` or ``total`` is not a number.
    """
    fields = {"progress": short(step), "done": number(done, "done"), "time": _now()}
    if total is not None:
        fields["total"] = number(total, "total")
    return Record(fields)


def metrics_record(values: Any, step: Any) -> Record:
    """Return numbers by name.

    :raises TypeError: if they are not, or if the step is not an integer.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"metrics are a mapping of names to numbers, not a {_kind(values)}")
    numbers = {short(name): number(value, f"metric {name!r}") for name, value in values.items()}
    fields: dict[str, Any] = {"metrics": numbers}
    if step is not None:
        fields["step"] = _integer(step)
    return Record(fields)


def message_record(text: Any, level: Any) -> Record:
    """Return a message.

    :raises ValueError: if there is no such level.
    """
    text = _valid(str(text))
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}… ({len(text) - MAX_TEXT} more characters)"
    return Record({"message": text, "level": _level(level), "time": _now()})


def artifact_record(name: Any, source: Any, media_type: Optional[str]) -> Record:
    """Return a file to keep, or a message that it is too large.

    :param source: Bytes, the path of a file, or a figure of matplotlib, which becomes a PNG.
    :raises ValueError: if the name is not one path component.
    :raises OSError: if the file can't be read.
    :raises TypeError: if the source is neither.
    """
    _check_artifact_name(name)
    data, drawn_as = _bytes_of(source)
    if len(data) > MAX_ARTIFACT:
        return message_record(
            f"Artifact {name!r} was left out, because it has more than {MAX_ARTIFACT} bytes. Write "
            "large files to job.storage_path.",
            "warning",
        )
    kind = short(media_type or drawn_as or _guessed(name))
    return Record({"artifact": name, "media_type": kind, "size": len(data), "time": _now()}, data)


def number(value: Any, what: str) -> Number:
    """Return a number of Python's own for one of any library.

    :param what: What it is, for an error.
    :raises TypeError: if it is not a single number.
    """
    try:
        plain = value.item() if hasattr(value, "item") else value
        if isinstance(plain, int):
            return int(plain) if abs(plain) < _LARGEST_INTEGER else float(plain)
        if isinstance(plain, (Real, Decimal)):
            return float(plain)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # an array, for one
        pass
    raise TypeError(f"{what} must be a number, not a {_kind(value)}")


def short(name: Any) -> str:
    """Return a name as text that is not too long."""
    text = _valid(str(name))
    return text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 1]}…"


def _integer(value: Any) -> int:
    plain = number(value, "the step of metrics")
    if isinstance(plain, float) and not plain.is_integer():
        raise TypeError(f"the step of metrics must be an integer, not {plain!r}")
    return int(plain)


def _level(level: Any) -> str:
    name = logging.getLevelName(level) if isinstance(level, int) else level
    name = {"warn": "warning", "fatal": "critical"}.get(str(name).lower(), str(name).lower())
    if name not in _LEVELS:
        raise ValueError(f"{level!r} is not a level: use one of {', '.join(_LEVELS)}")
    return name


def _check_artifact_name(name: Any) -> None:
    if (
        not isinstance(name, str)
        or name in ("", ".", "..")
        or len(name) > MAX_NAME
        or any(char in "/\\" or not char.isprintable() for char in name)
    ):
        raise ValueError(
            f"{name!r:.300} can't be the name of an artifact: it must be one path component of at most "
            f"{MAX_NAME} printable characters, such as 'confusion.png'"
        )


def _bytes_of(source: Any) -> tuple[bytes, Optional[str]]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), None
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:  # noqa: PTH123  # any path-like object
            return file.read(MAX_ARTIFACT + 1), None
    figure: Any = source if hasattr(source, "savefig") else getattr(source, "figure", None)
    if not hasattr(figure, "savefig"):
        raise TypeError(
            f"an artifact is bytes, the path of a file or a matplotlib figure, not a {_kind(source)}"
        )
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue(), "image/png"


def _guessed(name: str) -> str:
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def _valid(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _kind(value: Any) -> str:
    return type(value).__name__


def _now() -> float:
    return round(time.time(), 3)
