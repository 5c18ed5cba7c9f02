"""Limits and paths as a DAG may give them, templates included."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from airflow_synapse.rayjobs.models import JobInfo


def deadlines_of(limits: Mapping[str, float | None], found: JobInfo | None) -> dict[str, float]:
    """Return when the limits of a job pass, counted from its submission on.

    :param limits: Seconds by the name of the user's limit, None for none.
    :param found: The job, if it is not submitted just now.
    """
    submitted = time.time()
    if found is not None and found.start_time:
        submitted = found.start_time / 1000
    return {name: submitted + limit for name, limit in limits.items() if limit is not None}


def plain_path(value: Any) -> Any:
    """Return a path as text, and anything else as it is: text, None, or what an upstream task will say."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value
