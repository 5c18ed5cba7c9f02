"""The job's log, by a descriptor of our own: an action may close or replace all that Python has."""

from __future__ import annotations

import faulthandler
import os
import stat
import sys
from contextlib import suppress

# By names of our own, as an action may also replace what the module has (gevent, fake file systems).
from os import close, devnull, dup2, fstat, write
from os import open as open_fd
from typing import Optional

FileIdentity = tuple[int, int]
"""Device and inode: tells whether a descriptor or a name is still the same file."""

_OUT_OF_REACH = 100
"""Daemons close the low descriptors, and what is opened next gets their numbers."""


class JobLog:
    """What standard error was when the process began."""

    def __init__(self, stderr_fd: int = 2) -> None:
        self._fd = _duplicate(stderr_fd)
        self._identity = identity_of(self._fd)
        self.stream = sys.stderr
        """Python's own way to it."""

    def tell(self, text: str) -> None:
        """Say something in our own name."""
        self.write(f"airflow-synapse: {text}\n")

    def write(self, text: str) -> None:
        """Write at once, after what the action has printed. Raises nothing."""
        flush_output()
        fd = self._open_fd()
        with suppress(Exception):  # a full disk, for one: no words are worth the job
            if fd is not None:
                write_all(fd, text.encode("utf-8", "backslashreplace"))

    def size(self) -> Optional[int]:
        """Return how long it is, in bytes; None if that can't be told, as of a pipe."""
        fd = self._open_fd()
        status = None if fd is None else fstat(fd)
        return status.st_size if status and stat.S_ISREG(status.st_mode) else None

    def show_crashes(self) -> None:
        """Let Python tell where it was when native code crashes. An action may choose otherwise."""
        if self._fd is not None and not faulthandler.is_enabled():
            faulthandler.enable(file=self._fd)

    def reopen_closed_output(self) -> None:
        """Take standard output and error back if they were closed.

        The next file to be opened would get their numbers, and in it what is printed.
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
    """Flush what Python has buffered of standard output and error, if they still can be."""
    for name in ("stdout", "stderr"):
        with suppress(BaseException):  # the action may have put anything there
            getattr(sys, name).flush()


def drop_broken_output() -> None:
    """Take away what can't be flushed: for that alone, Python would end with exit code 120."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except BaseException:  # noqa: BLE001  # whatever the action has put there
            setattr(sys, name, None)


def identity_of(fd: Optional[int]) -> Optional[FileIdentity]:
    """Return which file is open there, None if there is none."""
    if fd is None:
        return None
    try:
        status = fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, however little a single write takes."""
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
