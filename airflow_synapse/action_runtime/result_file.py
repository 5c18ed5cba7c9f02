"""Writes the result to a file beside the driver's log, which Ray's log route serves.

Ray gives a driver its log file as standard output, so that is where the session's log folder
and the submission id are read from. Everybody on the node may write to that folder. So existing
files are never written to, and whatever has taken the result's name is moved aside.
"""

# ruff: noqa: PTH104, PTH108  # pathlib asks os, where an action may have replaced anything

from __future__ import annotations

import os
import re
from contextlib import suppress

# Imported by name: see above.
from os import close, fstat, lstat, rename, unlink, urandom
from os import open as open_fd
from pathlib import Path
from typing import NamedTuple, Optional

from .job_log import FileIdentity, identity_of, write_all
from .ray_job import submission_id

SESSION_LOGS = Path("/tmp/ray/session_latest/logs")  # noqa: S108  # Ray's own default
NOT_RETURNED = b'{"returned": false}'
"""The content of the result file until the action returns."""

_DRIVER_LOG = re.compile(r"job-driver-(?P<job_id>.+)\.log")
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_NEW_FILE |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

_change_mode = getattr(os, "fchmod", None)  # Windows has none


class JobPlace(NamedTuple):
    """Which job this process is, and the log folder of its Ray session, as far as they are known.

    ``mode`` says who may read the result: everybody who may read the log.
    """

    job_id: Optional[str]
    logs: Optional[Path]
    mode: int = 0o644

    @property
    def result_file(self) -> Optional[Path]:
        """The path of the job's result; None if the job or its folder is not known."""
        if not self.job_id or not self.logs:
            return None
        return self.logs / f"airflow-synapse-result-{self.job_id}.json"


class Placeholder(NamedTuple):
    """Our own file under the result's name. It stays open to reserve a descriptor for the result."""

    file: Path
    fd: int
    identity: FileIdentity

    def lies_there(self) -> bool:
        """Return whether the result's name still means this file."""
        return _identity_of_path(self.file) == self.identity

    def withdraw(self) -> None:
        """Delete it: the job fails, and its exit code says so."""
        with suppress(OSError):
            if self.lies_there():
                unlink(self.file)

    def let_go(self) -> None:
        """Close it."""
        if identity_of(self.fd) == self.identity:
            close(self.fd)


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


def take_place(place: JobPlace) -> Optional[Placeholder]:
    """Write a result file that says that the action has not returned.

    If a job SUCCEEDED and left this file, the action ended the process itself. If it left no file,
    the result was lost. Returns None if the file can't be written, which does no harm.
    """
    file = place.result_file
    try:
        fd = None if file is None else _new_file(file, NOT_RETURNED, place.mode)
    except OSError:
        return None
    identity = identity_of(fd)
    return Placeholder(file, fd, identity) if file and fd is not None and identity else None


def write_result(
    place: JobPlace, text: str, placeholder: Optional[Placeholder] = None
) -> list[str]:
    """Write the result file in one step, and return the warnings to log.

    The work is done, so an error here becomes a warning, not a failed job.
    """
    file = place.result_file
    if file is None:
        return ["the result is lost: this process does not look like the driver of a Ray job"]
    if placeholder:
        placeholder.let_go()
    try:
        return _write(file, text.encode("utf-8"), place.mode, placeholder)
    except Exception as exc:  # noqa: BLE001  # the action's hooks may raise anything, too
        return [f"the result is lost: it can't be written to {file}: {exc}"]


def _write(file: Path, data: bytes, mode: int, placeholder: Optional[Placeholder]) -> list[str]:
    part = file.with_name(f".airflow-synapse-{urandom(8).hex()}.part")
    fd = _new_file(part, data, mode)
    try:
        warnings = [] if placeholder and placeholder.lies_there() else _make_way(file)
        rename(part, file)
        if _identity_of_path(file) != identity_of(fd):
            warnings.append(f"the result is lost: somebody else put another file at {file}")
        return warnings
    except BaseException:
        unlink(part)
        raise
    finally:
        close(fd)


def _new_file(path: Path, data: bytes, mode: int) -> int:
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


def _make_way(file: Path) -> list[str]:
    # A rename neither follows nor loses it, whether it is a link, a folder or somebody's file.
    aside = file.with_name(f"airflow-synapse-aside-{urandom(8).hex()}")
    try:
        rename(file, aside)
    except FileNotFoundError:
        return []
    return [f"something else had the name of this job's result file; it was moved to {aside}"]


def _identity_of_path(path: Path) -> Optional[FileIdentity]:
    try:
        status = lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
