"""Writes reports to a file beside the driver's log, so that they outlive this process.

Each report is a line of JSON, written at once. Only the last progress of a step and the last
version of an artifact count, so their lines are overwritten in place and the file stays small.
An artifact's bytes are a file of their own.
"""

# ruff: noqa: PTH108  # pathlib asks os, where an action may have replaced anything

from __future__ import annotations

import json
import os
import threading

# Imported by name: see above.
from os import close, fstat, unlink, urandom, write
from os import open as open_fd
from pathlib import Path
from typing import Any, Callable, Optional

from ..job_log import FileIdentity, identity_of, write_all
from ..log_folder import JobPlace, move_aside, new_file
from .metric_series import MetricSeries
from .records import MAX_ARTIFACT, Record, message_record

MAX_REPORT = 64 * 1024 * 1024
"""Bytes of the report's lines. Then only what is known already may change."""
MAX_MESSAGES = 10_000
MAX_LINES_IN_PLACE = 2_000
"""Steps and artifacts."""
MAX_ARTIFACTS = 512 * 1024 * 1024
"""Bytes of all artifacts of a job."""

_SPARE = 40
"""Characters by which a line may grow when it is overwritten: more digits."""
_APPENDING = os.O_WRONLY | os.O_APPEND
_IN_PLACE = os.O_RDWR
_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class ReportFile:
    """Takes records and writes them. Nothing is there before the first one, and it raises nothing.

    :param place: The job, and the folder of its log.
    :param tell: Called with a sentence for the job's log, about each kind of trouble only once.
    :param begun: Called once there is a file.
    """

    def __init__(
        self,
        place: JobPlace,
        tell: Callable[[str], None],
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        self._place, self._tell, self._begun_with = place, tell, begun
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._file: Optional[_OwnFile] = None
        self._series = MetricSeries()
        self._begun: dict[str, dict[str, Any]] = {}
        self._messages = 0
        self._artifacts: dict[str, tuple[Path, int]] = {}
        self._told: set[str] = set()

    @property
    def path(self) -> Optional[Path]:
        """The report; None if it can't be written."""
        return self._place.path_of("report", ".jsonl")

    def files(self) -> list[Path]:
        """Return the files that hold the report, and none if there is none."""
        if self._file is None:
            return []
        return [self._file.path, *(path for path, _size in self._artifacts.values())]

    def take(self, record: Record) -> None:
        """Write a record."""
        if os.getpid() != self._pid:
            self._after_fork()
        try:
            with self._lock:
                self._write(*record)
        except Exception as exc:  # noqa: BLE001  # no report is worth the action's work
            self._tell_once("lost", f"some reports are lost: {type(exc).__name__}: {exc}")

    def close(self) -> None:
        """Write what was held back."""
        try:
            with self._lock:
                for fields in self._series.last_ones():
                    self._append(fields)
        except Exception as exc:  # noqa: BLE001  # see above
            self._tell_once("lost", f"some reports are lost: {type(exc).__name__}: {exc}")

    def _after_fork(self) -> None:
        self._pid, self._lock = os.getpid(), threading.RLock()
        if self._file is not None:
            self._file.in_place.clear()  # the other process goes on to use these

    def _write(self, fields: dict[str, Any], data: bytes) -> None:
        if "metrics" in fields:
            for line in self._series.lines(fields):
                self._append(line)
            self._say(self._series.news())
        elif "progress" in fields:
            self._advance(fields)
        elif "artifact" in fields:
            self._keep(fields, data)
        elif "message" in fields:
            self._note(fields)

    def _advance(self, fields: dict[str, Any]) -> None:
        step = fields["progress"]
        if step not in self._begun and len(self._begun) < MAX_LINES_IN_PLACE:
            self._begun[step] = {"since": fields["time"], "from": fields["done"]}
        self._replace(f"progress {step}", {**fields, **self._begun.get(step, {})})

    def _note(self, fields: dict[str, Any]) -> None:
        self._messages += 1
        if self._messages <= MAX_MESSAGES:
            self._append(fields)
        else:
            self._say_once("messages", f"From here on messages are left out, after {MAX_MESSAGES}.")

    def _keep(self, fields: dict[str, Any], data: bytes) -> None:
        name = fields["artifact"]
        if not self._has_room(name, len(data)):
            return
        token = urandom(8).hex()
        path = self._place.path_of("artifact", f"-{token}")
        if path is None:
            self._opened()  # which says why nothing is kept
            return
        close(new_file(path, data, self._place.mode))
        if not self._replace(f"artifact {name}", {**fields, "file": token}):
            unlink(path)
            return
        earlier, self._artifacts[name] = self._artifacts.get(name), (path, len(data))
        if earlier is not None:
            unlink(earlier[0])

    def _has_room(self, name: str, size: int) -> bool:
        others = sum(size for key, (_path, size) in self._artifacts.items() if key != name)
        has_room = size <= MAX_ARTIFACT and others + size <= MAX_ARTIFACTS
        if not has_room:
            self._say_once(
                f"artifact {name}",
                f"Artifact {name!r} was left out: it has {size} bytes and the others have {others}. "
                f"{MAX_ARTIFACT} are allowed for one and {MAX_ARTIFACTS} for all.",
            )
        return has_room

    def _replace(self, key: str, fields: dict[str, Any]) -> bool:
        file = self._opened()
        return file is not None and (
            file.overwrite(key, fields) or self._append(fields, key=key, spare=_SPARE)
        )

    def _append(self, fields: dict[str, Any], *, key: str = "", spare: int = 0) -> bool:
        file = self._opened()
        if file is None:
            return False
        if file.size() > MAX_REPORT:
            return self._say_full(file)
        file.append(_line(fields, spare), key=key)
        return True

    def _say_full(self, file: _OwnFile) -> bool:
        if "full" not in self._told:
            self._told.add("full")
            text = f"The report is full, with {MAX_REPORT} bytes: what came later was left out."
            file.append(_line(message_record(text, "warning").fields))
        return False

    def _say_once(self, what: str, text: str) -> None:
        if what not in self._told and len(self._told) < MAX_LINES_IN_PLACE:
            self._told.add(what)
            self._say(text)

    def _say(self, text: str) -> None:
        if text:
            self._append(message_record(text, "warning").fields)

    def _tell_once(self, what: str, text: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self._tell(text)

    def _opened(self) -> Optional[_OwnFile]:
        if self._file is None:
            path = self.path
            if path is None:
                self._tell_once(
                    "place",
                    "reports are lost: this process does not look like the driver of a Ray job",
                )
                return None
            self._file = _OwnFile.made(path, self._place.mode)
            self._begun_with()
        return self._file


def _line(fields: dict[str, Any], spare: int = 0) -> bytes:
    return (_encode(fields) + " " * spare + "\n").encode("utf-8", "backslashreplace")


class _OwnFile:
    """A file that only this process and its forks write to, even if an action closes descriptors."""

    def __init__(self, path: Path, identity: FileIdentity) -> None:
        self.path, self._identity = path, identity
        self._fds: dict[int, int] = {}
        self._is_broken = False
        self.in_place: dict[str, tuple[int, int]] = {}
        """Offset and length of lines that may be overwritten."""

    @classmethod
    def made(cls, path: Path, mode: int) -> _OwnFile:
        """Make it, and move aside whatever has its name."""
        try:
            fd = new_file(path, b"", mode)
        except FileExistsError:
            move_aside(path)
            fd = new_file(path, b"", mode)
        try:
            identity = identity_of(fd)
        finally:
            close(fd)
        if identity is None:
            raise OSError(f"{path} is gone")
        return cls(path, identity)

    def size(self) -> int:
        return fstat(self._fd(_APPENDING)).st_size

    def append(self, line: bytes, *, key: str = "") -> None:
        """Append a line.

        :param key: A name by which it may be overwritten later.
        """
        fd = self._fd(_APPENDING)
        if self._is_broken:  # the last line was cut, as the disk was full
            line = b"\n" + line
            self._is_broken = False
        written = write(fd, line)
        if written < len(line):
            self._is_broken = True
            write_all(fd, line[written:])
            self._is_broken = False
        if key in self.in_place or (key and len(self.in_place) < MAX_LINES_IN_PLACE):
            self._remember(key, line, fstat(fd).st_size - len(line))

    def _remember(self, key: str, line: bytes, offset: int) -> None:
        # A fork may have appended something since.
        if hasattr(os, "pread") and os.pread(self._fd(_IN_PLACE), len(line), offset) == line:
            self.in_place[key] = offset, len(line)

    def overwrite(self, key: str, fields: dict[str, Any]) -> bool:
        """Put another line in the place of an earlier one, if it fits."""
        offset, length = self.in_place.get(key, (0, 0))
        line = _line(fields)
        if len(line) > length:
            return False
        padded = line[:-1].ljust(length - 1) + b"\n"
        return os.pwrite(self._fd(_IN_PLACE), padded, offset) == length

    def _fd(self, flags: int) -> int:
        fd = self._fds.get(flags)
        if identity_of(fd) != self._identity or fd is None:
            fd = self._fds[flags] = self._reopened(flags)
        return fd

    def _reopened(self, flags: int) -> int:
        fd = open_fd(self.path, flags | _SAFELY)
        if identity_of(fd) != self._identity:
            close(fd)
            raise OSError(f"somebody else put another file at {self.path}")
        return fd
