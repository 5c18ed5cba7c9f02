"""Says what it means that Ray gave up on a job that waited too long to be started. Pure.

Ray gives up after ``RAY_JOB_START_TIMEOUT_SECONDS`` (900 s). Its answer is the same for a cluster that is busy,
for a job that no node can ever take and for a runtime_env that takes long to install. So the reason is the last
one that was seen while the job waited.
"""

from __future__ import annotations

from collections.abc import Mapping

from airflow_synapse.rayjobs.models import CUT_OFF_KEY, FAILED, WAITING_SINCE_KEY, JobInfo
from airflow_synapse.rayjobs.waiting.reasons import Cause, Reason

_LIMIT = "RAY_JOB_START_TIMEOUT_SECONDS"
_ERROR_TYPE = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
_MESSAGE = "Job supervisor actor failed to start within"
"""How Ray's message begins. Older versions give no ``error_type``."""

_HINTS = {
    Cause.IMPOSSIBLE: "Ask for less, or add a node that has it.",
    Cause.BUSY: "Submit it again, or add nodes.",
    Cause.AUTOSCALER: "Submit it again, or see why the autoscaler added no node in time.",
    Cause.ENVIRONMENT: (
        f"Set {_LIMIT} in the environment of the cluster's head node to more seconds than the installation "
        "takes, or have the packages in the image of the nodes."
    ),
}


def has_passed(info: JobInfo) -> bool:
    """Whether Ray gave up on the job because nothing had started it in time."""
    if info.status != FAILED or info.error_type not in (None, _ERROR_TYPE):
        return False
    return info.error_type == _ERROR_TYPE or (info.message or "").startswith(_MESSAGE)


def is_worth_submitting_again(info: JobInfo, reason: Reason | None) -> bool:
    """Whether another job in place of this one may be started, as far as that is known.

    A queue is no failure, however long it is. An installation that was cut off is tried once more, because the
    node may have kept what it installed.

    :param info: The job as it ended.
    :param reason: Why it waited when it was last seen waiting.
    """
    if reason is None or not has_passed(info):
        return False
    if reason.cause is Cause.ENVIRONMENT:
        return CUT_OFF_KEY not in info.metadata
    return reason.cause in (Cause.BUSY, Cause.AUTOSCALER)


def waiting_since(info: JobInfo) -> float | None:
    """Return when the first of the jobs was submitted that waited in each other's place.

    The time is in seconds since the epoch, by the head's own clock.
    """
    told = info.metadata.get(WAITING_SINCE_KEY, "")
    if told.isascii() and told.isdecimal() and len(told) < 16:
        return int(told) / 1000
    return info.start_time / 1000 if info.start_time else None


def waited_before(info: JobInfo) -> float:
    """Return for how many seconds other jobs waited before this one was submitted in their place."""
    since = waiting_since(info)
    return max(0.0, info.start_time / 1000 - since) if info.start_time and since else 0.0


def metadata_after(info: JobInfo, reason: Reason | None) -> dict[str, str]:
    """Return what the job in place of this one says about the wait so far, as metadata."""
    since = waiting_since(info)
    told = {} if since is None else {WAITING_SINCE_KEY: str(round(since * 1000))}
    if CUT_OFF_KEY in info.metadata or (reason is not None and reason.cause is Cause.ENVIRONMENT):
        told[CUT_OFF_KEY] = "true"
    return told


def hint_of(info: JobInfo, reason: Reason | None) -> str:
    """Return why the job waited and what to do, if Ray gave up on it and the reason is known."""
    if reason is None or not has_passed(info):
        return ""
    again = ""
    if reason.cause is Cause.ENVIRONMENT and CUT_OFF_KEY in info.metadata:
        again = " Ray cut the installation off for the second time."
    return f"It {reason.text}.{again} {_HINTS[reason.cause]}"


def told_about_wait(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the part of a job's metadata that says how long it has waited."""
    return {key: metadata[key] for key in (WAITING_SINCE_KEY, CUT_OFF_KEY) if key in metadata}
