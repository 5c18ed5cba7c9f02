"""Reads limits and paths as a DAG may give them, templates included."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from airflow_synapse.rayjobs.models import JobInfo


def deadlines_of(limits: Mapping[str, float | None], found: JobInfo | None) -> dict[str, float]:
    """Return the moments at which a job's limits pass, counted from its submission.

    :param limits: Seconds, keyed by the name of the user's limit. None means no limit.
    :param found: The job, if it was submitted before now.
    """
    submitted = time.time()
    if found is not None and found.start_time:
        submitted = found.start_time / 1000
    return {name: submitted + limit for name, limit in limits.items() if limit is not None}


def plain_path(value: Any) -> Any:
    """Return a path as text, and anything else unchanged: text, None, or the XCom of an upstream task."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value
