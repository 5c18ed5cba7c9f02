"""Where the result goes: a file beside the driver's log, which Ray's log route serves.

Ray gives a driver its log file as standard output, so that is where the session's log folder
and the submission id are read from.
"""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

SESSION_LOGS = Path("/tmp/ray/session_latest/logs")  # noqa: S108  # Ray's own default
_DRIVER_LOG = re.compile(r"job-driver-(?P<job_id>.+)\.log")


@dataclass(frozen=True)
class JobPlace:
    """Which job this process is, and the log folder of its Ray session, as far as is known."""

    job_id: Optional[str]
    logs: Optional[Path]

    @property
    def result_file(self) -> Optional[Path]:
        """Where the job's result belongs, None if the job or its folder is not known."""
        if not self.job_id or not self.logs:
            return None
        return self.logs / f"airflow-synapse-result-{self.job_id}.json"


def find_place(stdout_fd: int = 1) -> JobPlace:
    """Return the place of this job. Call it before user code can redirect standard output."""
    log = _path_of(stdout_fd)
    named = _DRIVER_LOG.fullmatch(log.name) if log else None
    if log and named:
        return JobPlace(named["job_id"], log.parent)
    return JobPlace(_job_id_in_environment(), SESSION_LOGS if SESSION_LOGS.is_dir() else None)


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


def _job_id_in_environment() -> Optional[str]:
    try:
        config = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
        job_id = config["metadata"]["job_submission_id"]
    except (ValueError, KeyError, TypeError):
        return None
    return job_id if isinstance(job_id, str) and "/" not in job_id else None


def write_result(place: JobPlace, text: str) -> None:
    """Put the result where it is looked for, at once and whole.

    The work is done: what goes wrong here becomes a warning, not a failed job.
    """
    file = place.result_file
    if file is None:
        warn("the result is lost: this process does not look like the driver of a Ray job")
        return
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        part.write_bytes(text.encode("utf-8"))
        os.replace(part, file)  # noqa: PTH105  # Path.replace says less in its errors
    except OSError as exc:
        warn(f"the result is lost: it can't be written to {file}: {exc}")
        part.unlink() if part.exists() else None


def warn(text: str) -> None:
    """Say something in the job's log, in our own name."""
    sys.stderr.write(f"airflow-synapse: {text}\n")
    sys.stderr.flush()
