"""How often tests look."""

from __future__ import annotations

from airflow_synapse.rayjobs.client.credentials.pace import CredentialPace
from airflow_synapse.rayjobs.watching.pace import Pace

FAST_CREDENTIALS = CredentialPace(
    first_pause=0.05,
    longest_pause=0.1,
    call_patience=0.4,
    watch_patience=1.0,
    file_check=0.02,
)
FAST_PACE = Pace(
    eager_poll=0.03,
    first_retry=0.03,
    longest_retry=0.06,
    log_read=0.02,
    quiet_log_read=0.05,
    longest_log_retry=0.06,
    credentials=FAST_CREDENTIALS,
)
