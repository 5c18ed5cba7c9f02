"""Turns an outcome into the event that a trigger sends to its task, and back. Pure.

An event holds what the trigger's docstring promises, and what the task needs to restore the outcome.
Events pass through Airflow's database, so long texts are cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_synapse.exceptions import (
    AirflowSynapseError,
    ExecutionError,
    RayAuthenticationError,
    RayClusterGoneError,
    RayClusterUnreachableError,
    RayJobNotFoundError,
    RayJobTimeoutError,
)
from airflow_synapse.exceptions.kuberay import RAY_CLUSTER_GONE
from airflow_synapse.handover.airflow_values import safe_text
from airflow_synapse.handover.xcom_keys import JOB_PAGE_KEY
from airflow_synapse.masking import without_secrets
from airflow_synapse.rayjobs.job.outcome import ERROR, NOT_FOUND, TIMEOUT, UNREACHABLE, Outcome
from airflow_synapse.rayjobs.job.start_limit import told_about_wait
from airflow_synapse.rayjobs.models import (
    ACTION_KEY,
    FAILED,
    PLUGIN_KEY,
    SUCCEEDED,
    TERMINAL_STATUSES,
    JobInfo,
    integer_or_none,
    text_or_none,
)
from airflow_synapse.rayjobs.waiting.reasons import Cause, Reason

Event = dict[str, Any]

_MAX_MESSAGE = 8_000
_MAX_LINE = 500
"""How many characters of a message and of each last line an event carries."""


def event_of(outcome: Outcome) -> Event:
    """Return an outcome as an event."""
    info, failure = outcome.info, outcome.failure
    event: Event = {
        "status": outcome.status,
        "job_id": outcome.job_id,
        "cluster": outcome.cluster or None,
        "last_lines": _cut(outcome.last_lines) if outcome.status != SUCCEEDED else [],
    }
    event.update(_of_end(info) if info is not None else _of_failure(failure))
    event.update(outcome.document or {})
    if outcome.waited_for is not None and outcome.status == FAILED:
        cause, text = outcome.waited_for.cause.value, safe_text(outcome.waited_for.text[:_MAX_LINE])
        event["waited_for"] = {"cause": cause, "text": text}
    return event if outcome.page is None else {**event, JOB_PAGE_KEY: outcome.page}


def _of_end(info: JobInfo) -> Event:
    return {
        "message": _told(_without_middle(info.message or "")),
        "error_type": _word(info.error_type),
        "driver_exit_code": info.driver_exit_code,
        "plugin": _word(info.metadata.get(PLUGIN_KEY)),
        "action": _word(info.metadata.get(ACTION_KEY)),
        "start_time": info.start_time,
        "end_time": info.end_time,
        **told_about_wait(info.metadata),
    }


def _of_failure(failure: AirflowSynapseError | None) -> Event:
    text = safe_text(str(failure)[:_MAX_MESSAGE])
    told: Event = {
        "message": text,
        "error_type": None,
        "driver_exit_code": None,
        "reason": f"can't be watched: {text.rstrip('.')}",
        "http_status": getattr(failure, "http_status", None),
    }
    if isinstance(failure, RayClusterGoneError):
        told["error_type"] = RAY_CLUSTER_GONE
        told["ray_cluster"] = failure.cluster
    if isinstance(failure, RayAuthenticationError):
        told["tried_for"], told["trouble"] = failure.tried_for, safe_text(failure.trouble)
        told["told"], told["hint"] = safe_text(failure.told), safe_text(failure.hint)
        told["is_of_job"] = failure.job_id is not None
    if isinstance(failure, (ExecutionError, RayClusterUnreachableError)):
        told["reason"], told["hint"] = _told(failure.reason), _told(failure.hint)
    if isinstance(failure, ExecutionError):
        told["job_status"] = failure.status
        told["last_lines"] = _cut(failure.last_lines)
    return told


def _word(text: str | None) -> str | None:
    """Return a short text that somebody else chose as Airflow can send and keep it."""
    return None if text is None else _told(text[:_MAX_LINE])


def _without_middle(message: str) -> str:
    """Return a message without its middle if it is too long: what went wrong often stands at its end."""
    if len(message) <= _MAX_MESSAGE:
        return message
    beginning = _MAX_MESSAGE // 4
    return f"{message[:beginning]}\n…\n{message[beginning - _MAX_MESSAGE :]}"


def _cut(lines: Sequence[str]) -> list[str]:
    return [_told(line[:_MAX_LINE]) for line in lines]


def _told(text: str) -> str:
    """Return a text as Airflow can send and keep it, for everybody who may read XComs and events."""
    return safe_text(without_secrets(text))


def outcome_of(event: Any) -> Outcome:
    """Return the outcome that an event stands for, even if an older version of this package wrote it.

    Anything else is a failure, because an unknown end must not count as a success.
    """
    if not isinstance(event, Mapping) or not isinstance(event.get("status"), str):
        reason = f"was watched by a trigger that ended with {event!r} instead of an event"
        return Outcome(
            "", failure=ExecutionError(reason=reason, hint="Look at the triggerer's log.")
        )
    known: dict[str, Any] = {
        "job_id": text_or_none(event.get("job_id")) or "",
        "cluster": text_or_none(event.get("cluster")) or "",
        "page": text_or_none(event.get(JOB_PAGE_KEY)),
    }
    lines = event.get("last_lines")
    last_lines = tuple(str(line) for line in lines) if isinstance(lines, list) else ()
    if event["status"] in TERMINAL_STATUSES:
        document = {"result": event["result"]} if "result" in event else None
        return Outcome(
            info=_info_of(event),
            last_lines=last_lines,
            document=document,
            waited_for=_reason_of(event.get("waited_for")),
            **known,
        )
    return Outcome(failure=_failure_of(event, last_lines), last_lines=last_lines, **known)


def _info_of(event: Mapping[str, Any]) -> JobInfo:
    metadata = {PLUGIN_KEY: event.get("plugin"), ACTION_KEY: event.get("action")}
    metadata.update(told_about_wait(event))
    start, end = event.get("start_time"), event.get("end_time")
    if end is None and isinstance(duration := event.get("duration"), (int, float)):
        start, end = (
            0,
            integer_or_none(duration * 1000),
        )  # all that version 0.1.0 told  # version 0.1.0 wrote nothing else
    return JobInfo(
        job_id=text_or_none(event.get("job_id")) or "",
        status=event["status"],
        message=text_or_none(event.get("message")),
        error_type=text_or_none(event.get("error_type")),
        driver_exit_code=integer_or_none(event.get("driver_exit_code")),
        start_time=integer_or_none(start),
        end_time=integer_or_none(end),
        metadata={key: str(value) for key, value in metadata.items() if value is not None},
    )


def _reason_of(told: Any) -> Reason | None:
    try:
        return Reason(Cause(told["cause"]), str(told["text"]), str(told["text"]))
    except (TypeError, KeyError, ValueError):
        return None


def _failure_of(event: Mapping[str, Any], last_lines: Sequence[str]) -> AirflowSynapseError:
    status, cluster = event["status"], text_or_none(event.get("cluster"))
    http_status = integer_or_none(event.get("http_status"))
    if status == ERROR and http_status is not None:
        return RayAuthenticationError(
            cluster=cluster or "its address",
            http_status=http_status,
            job_id=text_or_none(event.get("job_id")) if event.get("is_of_job") else None,
            tried_for=float(integer_or_none(event.get("tried_for")) or 0),  # of a watch: minutes
            trouble=text_or_none(event.get("trouble")) or "",
            told=text_or_none(event.get("told")) or "",
            hint=text_or_none(event.get("hint")) or "",
        )
    facts: dict[str, Any] = {
        "job_id": text_or_none(event.get("job_id")),
        "reason": text_or_none(event.get("reason", event.get("message"))) or "",
        "hint": text_or_none(event.get("hint")) or "",
    }
    if status == UNREACHABLE:
        return RayClusterUnreachableError(cluster=cluster or "its address", **facts)
    if status == NOT_FOUND and event.get("error_type") == RAY_CLUSTER_GONE:
        return RayClusterGoneError(cluster=text_or_none(event.get("ray_cluster")), **facts)
    kinds: dict[str, type[ExecutionError]] = {
        TIMEOUT: RayJobTimeoutError,
        NOT_FOUND: RayJobNotFoundError,
        ERROR: ExecutionError,
    }
    if status not in kinds:
        facts["reason"] = f"was watched by a trigger that ended with the unknown status {status!r}"
    return kinds.get(status, ExecutionError)(
        cluster=cluster,
        status=text_or_none(event.get("job_status")),
        last_lines=last_lines,
        **facts,
    )
