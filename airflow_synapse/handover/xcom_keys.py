"""The XComs that a task keeps for its link and its trigger."""

from __future__ import annotations

from typing import Any

JOB_ID_KEY = "job_id"
"""The submission ID of the task's job."""

JOB_PAGE_KEY = "dashboard_url"
"""The URL of the job's page in the Ray dashboard."""

LOG_POSITION_KEY = "log_position"
"""How far the log of which job has been shown, for a triggerer that takes over a trigger."""


def log_position(job_id: str, position: int = 0) -> dict[str, str | int]:
    """Return the value to keep under :data:`LOG_POSITION_KEY`.

    A task keeps it once before it defers, because Airflow's triggerer logs an error for a missing XCom.
    """
    return {"job_id": job_id, "position": position}


def handed_back(job_id: str, position: int = 0) -> dict[str, str | int | bool]:
    """Return the value to keep under :data:`LOG_POSITION_KEY` if a trigger leaves its job to the worker."""
    return {**log_position(job_id, position), "is_handed_back": True}


def is_handed_back(value: Any, job_id: str) -> bool:
    """Return whether a value under :data:`LOG_POSITION_KEY` says that a trigger left the job to the worker."""
    if not isinstance(value, dict) or value.get("job_id") != job_id:
        return False
    return value.get("is_handed_back") is True
