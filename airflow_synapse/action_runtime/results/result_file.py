"""Writes the result to a file beside the driver's log, which Ray's log route serves."""

# ruff: noqa: PTH104, PTH108  # pathlib asks os, where an action may have replaced anything

from __future__ import annotations

from contextlib import suppress

# Imported by name: see above.
from os import close, rename, unlink, urandom
from pathlib import Path
from typing import NamedTuple, Optional

from ..job_log import FileIdentity, identity_of
from ..log_folder import JobPlace, identity_of_path, move_aside, new_file

NOT_RETURNED = b'{"returned": false}'
"""The content of the result file until the action returns."""


class Placeholder(NamedTuple):
    """Our own file under the result's name. It stays open to reserve a descriptor for the result."""

    file: Path
    fd: int
    identity: FileIdentity

    def lies_there(self) -> bool:
        """Return whether the result's name still means this file."""
        return identity_of_path(self.file) == self.identity

    def withdraw(self) -> None:
        """Delete it: the job fails, and its exit code says so."""
        with suppress(OSError):
            if self.lies_there():
                unlink(self.file)

    def let_go(self) -> None:
        """Close it."""
        if identity_of(self.fd) == self.identity:
            close(self.fd)


def take_place(place: JobPlace) -> Optional[Placeholder]:
    """Write a result file that says that the action has not returned.

    If a job SUCCEEDED and left this file, the action ended the process itself. If it left no file,
    the result was lost. Returns None if the file can't be written, which does no harm.
    """
    file = place.result_file
    try:
        fd = None if file is None else new_file(file, NOT_RETURNED, place.mode)
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
    fd = new_file(part, data, mode)
    try:
        warnings = [] if placeholder and placeholder.lies_there() else _make_way(file)
        rename(part, file)
        if identity_of_path(file) != identity_of(fd):
            warnings.append(f"the result is lost: somebody else put another file at {file}")
        return warnings
    except BaseException:
        unlink(part)
        raise
    finally:
        close(fd)


def _make_way(file: Path) -> list[str]:
    aside = move_aside(file)
    if aside is None:
        return []
    return [f"something else had the name of this job's result file; it was moved to {aside}"]
