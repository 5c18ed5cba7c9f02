"""How often tests look."""

from __future__ import annotations

from airflow_synapse.rayjobs.watching.pace import Pace

FAST_PACE = Pace(
    eager_poll=0.03,
    first_retry=0.03,
    longest_retry=0.06,
    log_read=0.02,
    quiet_log_read=0.05,
    longest_log_retry=0.06,
)
