"""Writes to the job's log by our own descriptor, as an action may close or replace Python's streams."""

from __future__ import annotations

import faulthandler
import os
import stat
import sys
from contextlib import suppress

# Imported by name, as an action may replace the module's functions (gevent, fake file systems).
from os import close, devnull, dup2, fstat, write
from os import open as open_fd
from typing import Optional

FileIdentity = tuple[int, int]
"""Device and inode, which show whether a descriptor or a name still means the same file."""

_OUT_OF_REACH = 100
"""Daemons close the low descriptors, and the files opened next get their numbers."""


class JobLog:
    """Standard error as it was when the process began."""

    def __init__(self, stderr_fd: int = 2) -> None:
        self._fd = _duplicate(stderr_fd)
        self._identity = identity_of(self._fd)
        self.stream = sys.stderr
        """Python's own stream for it."""

    def tell(self, text: str) -> None:
        """Write a message under our own name."""
        self.write(f"airflow-synapse: {text}\n")

    def write(self, text: str) -> None:
        """Write at once, after what the action has printed. Raises nothing."""
        flush_output()
        fd = self._open_fd()
        with suppress(Exception):  # a full disk, for one: no message is worth the job
            if fd is not None:
                write_all(fd, text.encode("utf-8", "backslashreplace"))

    def size(self) -> Optional[int]:
        """Return its size in bytes; None if it has none, like a pipe."""
        fd = self._open_fd()
        status = None if fd is None else fstat(fd)
        return status.st_size if status and stat.S_ISREG(status.st_mode) else None

    def show_crashes(self) -> None:
        """Let Python show where it was when native code crashes. An action may choose otherwise."""
        if self._fd is not None and not faulthandler.is_enabled():
            faulthandler.enable(file=self._fd)

    def reopen_closed_output(self) -> None:
        """Reopen standard output and error if they were closed.

        Otherwise the next file to be opened gets their numbers, and everything that is printed.
        """
        for fd in (1, 2):
            with suppress(Exception):  # there may be no descriptor left
                if identity_of(fd) is None:
                    log = self._open_fd()
                    dup2(log, fd) if log is not None else _open_devnull_as(fd)

    def _open_fd(self) -> Optional[int]:
        same = (fd for fd in (self._fd, 2, 1) if identity_of(fd) == self._identity is not None)
        return next(same, None)


def flush_output() -> None:
    """Flush Python's standard output and error, if that is still possible."""
    for name in ("stdout", "stderr"):
        with suppress(BaseException):  # the action may have put anything there
            getattr(sys, name).flush()


def drop_broken_output() -> None:
    """Remove streams that can't be flushed: they alone would make Python end with exit code 120."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except BaseException:  # noqa: BLE001  # whatever the action has put there
            setattr(sys, name, None)


def identity_of(fd: Optional[int]) -> Optional[FileIdentity]:
    """Return which file the descriptor means; None if it is closed."""
    if fd is None:
        return None
    try:
        status = fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, however little a single write accepts."""
    rest = memoryview(data)
    while rest:
        rest = rest[write(fd, rest) :]


def _duplicate(fd: int) -> Optional[int]:
    try:
        import fcntl

        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_REACH)
    except (ImportError, OSError):  # Windows, or a low limit of open files
        return _duplicate_anywhere(fd)


def _duplicate_anywhere(fd: int) -> Optional[int]:
    try:
        return os.dup(fd)
    except OSError:
        return None


def _open_devnull_as(fd: int) -> None:
    opened = open_fd(devnull, os.O_WRONLY)
    if opened != fd:
        dup2(opened, fd)
        close(opened)
