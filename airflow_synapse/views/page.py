"""Collects what the page of a job shows. Pure; the template only lays it out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from airflow_synapse.exceptions import RayJobFailedError
from airflow_synapse.hooks.connection import RayConnection
from airflow_synapse.rayjobs.job.failures import error_of
from airflow_synapse.rayjobs.models import (
    COPIES_KEY,
    OWNER_KEY,
    PARTS_KEY,
    PENDING,
    RESULT_KEY,
    SPEC_KEY,
    JobInfo,
)
from airflow_synapse.views.job_look import JobLook
from airflow_synapse.views.masked_texts import ShownTexts
from airflow_synapse.views.notices import FINISHED_STATES, LATER, SOON, Notice
from airflow_synapse.views.secret_values import hider_of
from airflow_synapse.views.task_record import TaskRecord

_INTERNAL = frozenset({SPEC_KEY, PARTS_KEY, OWNER_KEY, RESULT_KEY, COPIES_KEY})
"""Metadata that means nothing to people."""

_LONGEST_TEXT = 8000
_LONGEST_LINE = 2000
_LABELS = {
    "num_cpus": "CPUs",
    "num_gpus": "GPUs",
    "memory": "memory",
    "custom_resources": "resources",
    "label_selector": "labels",
}


@dataclass(frozen=True)
class Link:
    """A link out of Airflow."""

    text: str
    url: str


@dataclass(frozen=True)
class Page:
    """The content of a page. The template escapes all texts.

    :param refresh: Seconds until the page refreshes itself, 0 for never.
    :param facts: Short facts about the job, each with a label and a value.
    :param error: What Ray says about a job that did not succeed, and what that means.
    """

    refresh: float = 0.0
    job_id: str = ""
    status: str = ""
    remark: str = ""
    notice: Notice | None = None
    facts: tuple[tuple[str, str], ...] = ()
    error: tuple[str, ...] = ()
    entrypoint: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    log: tuple[str, ...] | None = None
    log_problem: str = ""
    links: tuple[Link, ...] = ()

    @property
    def log_extent(self) -> str:
        """How much of the log the page shows."""
        count = len(self.log or ())
        if count <= 1:
            return "last line" if count else "empty so far"
        return f"last {count} lines"


def page_of_notice(
    notice: Notice, task: TaskRecord | None = None, connection: RayConnection | None = None
) -> Page:
    """Return the page that says why there is no job to show, with what is known anyway."""
    job_id = (task.job_id if task else None) or ""
    facts = [("Connection", str(task.cluster_ref or ""))] if task and job_id else []
    return Page(
        refresh=notice.refresh,
        notice=notice,
        job_id=job_id,
        facts=tuple(fact for fact in facts if fact[1]),
        links=_links(connection, job_id) if connection and job_id else (),
    )


def page_of_job(
    look: JobLook,
    info: JobInfo,
    *,
    texts: ShownTexts,
    task: TaskRecord,
    connection: RayConnection,
) -> Page:
    """Return the page of a job.

    :param look: What the cluster answered.
    :param info: The job in that answer.
    :param texts: The job's texts, masked as Airflow would show them.
    """
    hide = hider_of(connection.cluster, texts.secrets)
    log = tuple(_fit(hide(texts.line(line)), _LONGEST_LINE) for line in look.log)
    return Page(
        refresh=_refresh(info, task),
        job_id=info.job_id,
        status=info.status,
        remark=hide(_remark(look, info)),
        facts=_facts(info, task),
        error=tuple(_fit(hide(text)) for text in _error(look, info, connection)),
        entrypoint=_fit(hide(texts.entrypoint)),
        metadata=_metadata(texts.metadata, hide),
        log=None if look.log_problem else log,
        log_problem=hide(look.log_problem),
        links=_links(connection, info.job_id),
    )


def _refresh(info: JobInfo, task: TaskRecord) -> float:
    if not info.is_terminal:
        return SOON
    return 0.0 if task.state in FINISHED_STATES else LATER


def _facts(info: JobInfo, task: TaskRecord) -> tuple[tuple[str, str], ...]:
    facts = [
        ("Submitted", _moment(info.start_time)),
        ("Ended", _moment(info.end_time)),
        ("Duration", _duration(info)),
        ("Requested", _resources(task.resources)),
        ("Connection", str(task.cluster_ref or "")),
    ]
    return tuple((label, value) for label, value in facts if value)


def _remark(look: JobLook, info: JobInfo) -> str:
    """Return why the job waits or, if nothing tells, what Ray makes of its request."""
    if info.status != PENDING:
        return ""
    return f"It {look.reason.text}." if look.reason is not None else info.message or ""


def _error(look: JobLook, info: JobInfo, connection: RayConnection) -> list[str]:
    """Return why the job did not succeed, starting with the bare facts."""
    error = error_of(info, cluster=connection.cluster.address, last_lines=look.log or ("",))
    if error is None:
        return []
    if not isinstance(error, RayJobFailedError):
        return [info.message or "Somebody or something stopped the job."]
    facts = [info.error_type or ""]
    if info.driver_exit_code is not None:
        facts.append(f"exit code {info.driver_exit_code}")
    texts = [
        ", ".join(filter(None, facts)),
        error.message_without_log(),
        error.hint or error.default_hint,
    ]
    return [text for text in texts if text]


def _metadata(
    metadata: Mapping[str, str], hide: Callable[[str], str]
) -> tuple[tuple[str, str], ...]:
    pairs = sorted((name, value) for name, value in metadata.items() if name not in _INTERNAL)
    return tuple((hide(name), _fit(hide(value))) for name, value in pairs)


def _links(connection: RayConnection, job_id: str) -> tuple[Link, ...]:
    links = (
        Link("Job in the Ray dashboard", connection.job_page(job_id)),
        Link("Ray dashboard", f"{connection.dashboard_url}/"),
    )
    return tuple(link for link in links if link.url.startswith(("http://", "https://")))


def _fit(text: str, length: int = _LONGEST_TEXT) -> str:
    """Return a text of limited length. Hide secrets first, because cutting one in half would reveal it."""
    return text if len(text) <= length else f"{text[:length]}…"


def _moment(milliseconds: int | None) -> str:
    if not milliseconds:
        return ""
    moment = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _duration(info: JobInfo) -> str:
    if not info.start_time:
        return ""
    end = info.end_time or time.time() * 1000
    minutes, seconds = divmod(max(0, round((end - info.start_time) / 1000)), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if hours or minutes else ""]
    text = " ".join([*filter(None, parts), f"{seconds} s"])
    return text if info.end_time else f"{text} so far"


def _resources(resources: Mapping[str, Any]) -> str:
    return " · ".join(
        f"{_LABELS[name]} {_amount(name, value)}" for name, value in resources.items()
    )


def _amount(name: str, value: Any) -> str:
    if name == "memory" and isinstance(value, (int, float)):
        return f"{value / 1024**3:.3g} GiB"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {amount}" for key, amount in value.items())
    return value if isinstance(value, str) else json.dumps(value)
