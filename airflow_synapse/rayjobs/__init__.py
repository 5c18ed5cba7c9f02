"""Ray's Job Submission API: usable without Airflow.

The executor is imported on first use, so that a DAG file that needs only the names of Ray's
statuses loads no HTTP client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_synapse.rayjobs.job.report_lines import Artifact, JobReport, Message, Progress
from airflow_synapse.rayjobs.models import JobInfo

if TYPE_CHECKING:
    from airflow_synapse.rayjobs.executor import BaseRayExecutor, RayJobExecutor

__all__ = [
    "Artifact",
    "BaseRayExecutor",
    "JobInfo",
    "JobReport",
    "Message",
    "Progress",
    "RayJobExecutor",
]


def __getattr__(name: str) -> Any:
    if name in ("BaseRayExecutor", "RayJobExecutor"):
        from airflow_synapse.rayjobs import executor

        return getattr(executor, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
