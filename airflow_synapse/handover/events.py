"""What a trigger tells the task it watched for: one dict, written and read here. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_synapse.exceptions import (
    AirflowSynapseError,
    ExecutionError,
    RayAuthenticationError,
    RayClusterUnreachableError,
    RayJobNotFoundError,
    RayJobTimeoutError,
)
from airflow_synapse.handover.airflow_values import safe_text
from airflow_synapse.handover.job_facts import JobFacts
from airflow_synapse.rayjobs.job.failures import error_of
from airflow_synapse.rayjobs.models import SUCCEEDED, TERMINAL_STATUSES, JobInfo

TIMEOUT = "TIMEOUT"
NOT_FOUND = "NOT_FOUND"
UNREACHABLE = "UNREACHABLE"
ERROR = "ERROR"

Event = dict[str, Any]

_MAX_MESSAGE = 8_000
_MAX_LINE = 500
"""Characters of a message and of a last line that an event carries; events pass a database."""


def event_of_end(
    info: JobInfo, *, cluster: str, last_lines: Sequence[str] = (), result: Event | None = None
) -> Event:
    """Return the event of a job that ended.

    :param result: ``{"result": …}`` if the job's result is small enough to travel along.
    """
    is_failure = info.status != SUCCEEDED
    facts = JobFacts.of(info)
    return {
        "status": info.status,
        "job_id": info.job_id,
        "message": safe_text((info.message or "")[:_MAX_MESSAGE]),
        "error_type": info.error_type and safe_text(info.error_type),
        "driver_exit_code": info.driver_exit_code,
        "cluster": cluster,
        "plugin": facts.plugin,
        "action": facts.action,
        "duration": facts.duration,
        "last_lines": _cut(last_lines) if is_failure else [],
        **(result or {}),
    }


def event_of_error(error: Exception, *, job_id: str, cluster: str | None) -> Event:
    """Return the event of a watch that could not go on."""
    status = ERROR
    if isinstance(error, RayJobTimeoutError):
        status = TIMEOUT
    elif isinstance(error, RayJobNotFoundError):
        status = NOT_FOUND
    elif isinstance(error, RayClusterUnreachableError):
        status = UNREACHABLE
    text = str(error) if isinstance(error, AirflowSynapseError) else repr(error)
    text = safe_text(text[:_MAX_MESSAGE])
    reason = f"can't be watched: {text.rstrip('.')}"
    return {
        "status": status,
        "job_id": job_id,
        "message": text,
        "error_type": None,
        "driver_exit_code": None,
        "cluster": cluster,
        "reason": reason if status == ERROR else safe_text(getattr(error, "reason", "")),
        "hint": safe_text(getattr(error, "hint", "")),
        "job_status": getattr(error, "status", None),
        "http_status": getattr(error, "http_status", None),
        "last_lines": _cut(getattr(error, "last_lines", ())),
    }


def error_of_lasting_job(error: RayJobTimeoutError) -> RayJobTimeoutError:
    """Return the error of a job that took too long, and that could not be stopped then."""
    return RayJobTimeoutError(
        job_id=error.job_id,
        cluster=error.cluster,
        status=error.status,
        reason=f"{error.reason}, and could not be stopped, so that it may still run",
        hint=f"Stop it with `ray job stop {error.job_id} --address {error.cluster}`. {error.hint}",
        last_lines=error.last_lines,
    )


def _cut(lines: Sequence[str]) -> list[str]:
    return [safe_text(line[:_MAX_LINE]) for line in lines]


def error_of_event(event: Any) -> AirflowSynapseError | None:
    """Return the error that an event means, None for a job that succeeded.

    Whatever is not an event of ours is an error, too: an unknown end is no success.
    """
    if not isinstance(event, Mapping) or not isinstance(event.get("status"), str):
        return ExecutionError(
            reason=f"was watched by a trigger that ended with {event!r} instead of an event",
            hint="Look at the triggerer's log.",
        )
    status, cluster = event["status"], event.get("cluster")
    exit_code, last_lines = event.get("driver_exit_code"), event.get("last_lines")
    last_lines = [str(line) for line in last_lines] if isinstance(last_lines, list) else []
    if status in TERMINAL_STATUSES:
        info = JobInfo(
            job_id=event.get("job_id", ""),
            status=status,
            message=_text(event.get("message")),
            error_type=_text(event.get("error_type")),
            driver_exit_code=exit_code if isinstance(exit_code, int) else None,
        )
        return error_of(info, cluster=cluster or "", last_lines=last_lines)
    facts: dict[str, Any] = {
        "job_id": event.get("job_id"),
        "reason": _text(event.get("reason", event.get("message"))) or "",
        "hint": _text(event.get("hint")) or "",
    }
    if status == UNREACHABLE:
        return RayClusterUnreachableError(cluster=cluster or "its address", **facts)
    if status == ERROR and isinstance(http_status := event.get("http_status"), int):
        return RayAuthenticationError(cluster=cluster or "its address", http_status=http_status)
    kinds: dict[str, type[ExecutionError]] = {
        TIMEOUT: RayJobTimeoutError,
        NOT_FOUND: RayJobNotFoundError,
        ERROR: ExecutionError,
    }
    if status not in kinds:
        facts["reason"] = f"was watched by a trigger that ended with the unknown status {status!r}"
    kind = kinds.get(status, ExecutionError)
    facts["status"] = _text(event.get("job_status"))
    return kind(cluster=cluster, last_lines=last_lines, **facts)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
