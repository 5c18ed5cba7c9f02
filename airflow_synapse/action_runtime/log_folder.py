"""Finds the log folder of this job's Ray session, and makes files there safely.

Ray gives a driver its log file as standard output, so that is where the session's log folder
and the submission id are read from. Everybody on the node may write to that folder. So existing
files are never written to, and no link is followed.
"""

# ruff: noqa: PTH104, PTH108  # pathlib asks os, where an action may have replaced anything

from __future__ import annotations

import os
import re

# Imported by name: see above.
from os import close, fdopen, fstat, lstat, rename, unlink, urandom
from os import open as open_fd
from pathlib import Path
from stat import S_ISREG
from typing import IO, NamedTuple, Optional

from .job_log import FileIdentity, write_all
from .ray_job import submission_id

SESSION_LOGS = Path("/tmp/ray/session_latest/logs")  # noqa: S108  # Ray's own default

_DRIVER_LOG = re.compile(r"job-driver-(?P<job_id>.+)\.log")
_READING = os.O_RDONLY
_READING |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_NEW_FILE |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

_change_mode = getattr(os, "fchmod", None)  # Windows has none
_user = getattr(os, "geteuid", lambda: 0)  # Windows has none, and says 0 of every file


class JobPlace(NamedTuple):
    """Which job this process is, and the log folder of its Ray session, as far as they are known.

    ``mode`` says who may read the job's files: everybody who may read the log.
    """

    job_id: Optional[str]
    logs: Optional[Path]
    mode: int = 0o644

    @property
    def result_file(self) -> Optional[Path]:
        """The path of the job's result; None if the job or its folder is not known."""
        return self.path_of("result", ".json")

    def path_of(self, kind: str, suffix: str) -> Optional[Path]:
        """Return the path of one of the job's files; None if the job or its folder is not known."""
        if not self.job_id or not self.logs:
            return None
        return self.logs / f"airflow-synapse-{kind}-{self.job_id}{suffix}"


def find_place(stdout_fd: int = 1) -> JobPlace:
    """Return the place of this job. Call it before user code can redirect standard output."""
    log = _path_of(stdout_fd)
    named = _DRIVER_LOG.fullmatch(log.name) if log else None
    if log and named:
        return JobPlace(named["job_id"], log.parent, 0o600 | (fstat(stdout_fd).st_mode & 0o044))
    return JobPlace(submission_id(), SESSION_LOGS if SESSION_LOGS.is_dir() else None)


def _path_of(fd: int) -> Optional[Path]:
    try:
        return Path(f"/proc/self/fd/{fd}").readlink()
    except OSError:
        return _path_of_on_macos(fd)


def _path_of_on_macos(fd: int) -> Optional[Path]:
    try:
        import fcntl

        answer = fcntl.fcntl(fd, fcntl.F_GETPATH, b"\0" * 1024)  # type: ignore[attr-defined]
    except (ImportError, AttributeError, OSError):
        return None
    return Path(os.fsdecode(answer.rstrip(b"\0")))


def new_file(path: Path, data: bytes, mode: int) -> int:
    """Make a file with this content and return its descriptor.

    :raises OSError: if it can't be written. Then there is no such file, unless there was one.
    """
    fd = open_fd(path, _NEW_FILE, 0o600)
    try:
        write_all(fd, data)
        if _change_mode:
            _change_mode(fd, mode)  # whatever umask the action left
    except BaseException:
        close(fd)
        unlink(path)
        raise
    return fd


def open_own(path: Path) -> IO[bytes]:
    """Open a file of this job to read. Somebody else may have put a link or another file in its place.

    :raises OSError: if it is no plain file of this user.
    """
    fd = open_fd(path, _READING)
    status = fstat(fd)
    if not S_ISREG(status.st_mode) or status.st_uid != _user():
        close(fd)
        raise OSError(f"{path} is no file of this job")
    return fdopen(fd, "rb")


def move_aside(file: Path) -> Optional[Path]:
    """Give whatever has this name another name and return that; None if nothing has it."""
    # A rename neither follows nor loses it, whether it is a link, a folder or somebody's file.
    aside = file.with_name(f"airflow-synapse-aside-{urandom(8).hex()}")
    try:
        rename(file, aside)
    except FileNotFoundError:
        return None
    return aside


def identity_of_path(path: Path) -> Optional[FileIdentity]:
    """Return which file the name means; None if it means none."""
    try:
        status = lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
