"""How often a watch polls, and how long it tolerates failures. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_synapse.rayjobs.client.credentials.pace import USUAL_PACE as _USUAL_CREDENTIALS
from airflow_synapse.rayjobs.client.credentials.pace import CredentialPace
from airflow_synapse.rayjobs.patience import Backoff


@dataclass(frozen=True)
class Pace:
    """The times of a watch, in seconds unless stated otherwise.

    :param eager_poll: Between two status requests for a job right after its watch began.
    :param eagerness: The interval grows to this share of the time watched so far.
    :param first_retry: The first pause after a request that failed.
    :param longest_retry: The longest pause while a cluster is unreachable.
    :param list_retry: The first pause after a list of all jobs that could not be read.
    :param log_read: Between two reads of a log that grows.
    :param quiet_log_read: Between two reads of a log that is quiet, at most.
    :param slowing_down: The pause between two reads of a quiet log is this share of the time it has been
        quiet.
    :param longest_log_retry: Between two tries to read a log that can't be read, at most.
    :param log_failing_is_news_after: Until a warning says that a log can't be read.
    :param patience_for_end: Until the rest of an ended job's log is left out, if only the log can't
        be read.
    :param tries_of_end: How many tries in a row must also have failed by then.
    :param waiting_is_news_after: Until a job that is PENDING is looked at for why it waits.
    :param waiting_look: Between two looks at why jobs wait on a cluster.
    :param progress_interval: Between two states of a progress bar that are shown.
    :param wrong_server: Until it is believed that something other than a Ray dashboard answers.
    :param no_route: The same while a job is watched and the answer is 404, as from a proxy whose dashboard is
        away.
    :param credentials: How often credentials are read again, and for how long they may be refused.
    """

    eager_poll: float = 0.5
    eagerness: float = 0.1
    first_retry: float = 0.5
    longest_retry: float = 30.0
    list_retry: float = 5.0
    log_read: float = 0.4
    quiet_log_read: float = 2.0
    slowing_down: float = 0.1
    longest_log_retry: float = 10.0
    log_failing_is_news_after: float = 15.0
    patience_for_end: float = 60.0
    tries_of_end: int = 4
    waiting_is_news_after: float = 2.0
    waiting_look: float = 5.0
    progress_interval: float = 1.0
    wrong_server: float = 20.0
    no_route: float = 120.0
    credentials: CredentialPace = _USUAL_CREDENTIALS

    def backoff(self) -> Backoff:
        """Return the pauses between tries to reach a cluster."""
        return Backoff(self.first_retry, self.longest_retry)

    def log_backoff(self) -> Backoff:
        """Return the pauses between tries to read a log."""
        return Backoff(min(self.first_retry, self.log_read), self.longest_log_retry)


USUAL_PACE = Pace()
