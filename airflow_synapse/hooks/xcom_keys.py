"""Under which keys a task keeps in XCom what its link and its trigger need."""

from __future__ import annotations

JOB_ID_KEY = "job_id"
"""The submission id of the task's job."""

DASHBOARD_URL_KEY = "dashboard_url"
"""The URL of the job's page in the Ray dashboard."""

LOG_POSITION_KEY = "log_position"
"""Up to which byte the log of which job is shown, for a trigger that another triggerer takes over."""
