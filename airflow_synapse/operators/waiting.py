"""Says how long a job may wait and run, and goes on waiting where Ray gave up on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from airflow_synapse.exceptions import RayJobTimeoutError
from airflow_synapse.rayjobs.job import start_limit
from airflow_synapse.rayjobs.job.outcome import Outcome
from airflow_synapse.rayjobs.models import PENDING, JobInfo
from airflow_synapse.rayjobs.waiting.reasons import Cause

GAVE_UP = (
    "Ray gave up on Ray job %s, because nothing had started it in time. It %s. That is Ray's own limit "
    "(RAY_JOB_START_TIMEOUT_SECONDS), so the job is submitted again under another ID. It has waited for %.0f s "
    "in all."
)
"""What to log about a job that is submitted again: its ID, why it waited, and for how long."""


def deadlines_of(limits: Mapping[str, float | None], since: float) -> dict[str, float]:
    """Return the moments at which a job's limits pass.

    :param limits: Seconds, keyed by the name of the user's limit. None means no limit.
    :param since: When the job was submitted, in seconds since the epoch, by the cluster's clock.
    """
    return {name: since + limit for name, limit in limits.items() if limit is not None}


def waits_again(outcome: Outcome, *, is_growing: Callable[[], bool]) -> bool:
    """Whether another job is to wait in place of the one that ended so.

    :param is_growing: Whether the cluster is to get nodes that it does not have yet. Then nothing is
        impossible there.
    """
    info, reason = outcome.info, outcome.waited_for
    if info is None or reason is None or not start_limit.has_passed(info):
        return False
    if reason.cause is Cause.IMPOSSIBLE:
        return is_growing()
    return start_limit.is_worth_submitting_again(info, reason)


def waited_for_seconds(ended: JobInfo) -> float:
    """Return for how long a job has waited that Ray gave up on, and those before it in whose place it was."""
    since = start_limit.waiting_since(ended)
    return max(0.0, (ended.end_time or 0) / 1000 - since) if since is not None else 0.0


def waited_metadata(after: Outcome | None) -> dict[str, str]:
    """Return what the job in place of an earlier one says about the wait so far."""
    if after is None or after.info is None:
        return {}
    return start_limit.metadata_after(after.info, after.waited_for)


def submitted_at(found: JobInfo | None, after: Outcome | None, *, now: float) -> float:
    """Return when the wait for a job began, by the clock that ``now`` is by.

    :param found: The job, if it was submitted before now.
    :param after: How the job ended in whose place it was submitted now.
    :param now: The time in seconds since the epoch, by the clock of the cluster's answers.
    """
    if after is not None and after.info is not None:
        return now - waited_for_seconds(after.info)
    if found is None or found.submitted_at is None:
        return now
    return min(found.submitted_at, now) - start_limit.waited_before(found)


def refuse_if_too_late(after: Outcome, limits: Mapping[str, float | None]) -> None:
    """Check that the user's limits leave time for another job.

    :param limits: Seconds, keyed by the name of the user's limit. None means no limit.
    :raises RayJobTimeoutError: if they don't. It names the limit.
    """
    now = time.time()  # whatever clock: the wait so far is a duration
    deadlines = deadlines_of(limits, submitted_at(None, after, now=now))
    passed = [name for name, deadline in deadlines.items() if deadline <= now]
    if passed:
        reason = after.waited_for
        raise RayJobTimeoutError(
            job_id=after.job_id,
            cluster=after.cluster,
            status=PENDING,
            reason=f"was still {PENDING} at the end of its {passed[0]}, when Ray gave up on it",
            hint=f"It {reason.text}." if reason is not None else "",
        )
