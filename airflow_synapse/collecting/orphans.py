"""Decides which jobs nobody wants any more, from several looks at a cluster and at Airflow. Pure.

A job is stopped only if two looks agree that its task is over or gone. In doubt it goes on: a task without
an answer changes nothing, and a look that disagrees with the one before starts all over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from airflow_synapse.handover.job_metadata import (
    DEPLOYMENT_KEY,
    STOP_ON_KILL_KEY,
    WAITS_KEY,
    TaskInstanceRef,
)
from airflow_synapse.rayjobs.models import JobInfo

GONE = "gone"
"""What stands for the state of a task instance that Airflow does not have. Airflow has no such state."""

_OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""States in which no try of a task will wait for its job, unless a user clears it. A clear makes a new job."""

_RESTARTING = "restarting"
"""The state of a task that was cleared while it ran, until its worker or the scheduler has noticed."""

_MANY = 10
"""From so many gone tasks on, a mistake is likelier than that somebody has deleted more than half."""

States = Mapping[TaskInstanceRef, str | None]
"""The states of task instances. Airflow has not answered about those that are missing."""


class Why(Enum):
    """Why a job looks as if nobody wanted it."""

    OVER = "over"
    RESTARTING = "restarting"
    GONE = "gone"


@dataclass(frozen=True)
class CollectPace:
    """How far apart the looks are that have to agree, in seconds.

    :param interval: Between two looks.
    :param gone_after: From the first look in which a task is gone until its job is stopped.
    """

    interval: float = 60.0
    gone_after: float = 600.0

    @property
    def first(self) -> float:
        """Seconds until the first look: soon, but not while everything starts."""
        return self.interval / 10

    def least_age(self, why: Why) -> float:
        """Return how long a job must have looked unwanted before it is stopped."""
        return self.gone_after if why is Why.GONE else self.interval


@dataclass(frozen=True)
class OwnJob:
    """A job that runs or waits, and that this Airflow may stop.

    :param job_id: Its submission ID.
    :param task: The task instance that it was submitted for.
    """

    job_id: str
    task: TaskInstanceRef


@dataclass(frozen=True)
class Look:
    """What a cluster and Airflow said at one moment.

    :param at: When the look began, in seconds of a clock that never jumps.
    :param jobs: This Airflow's jobs, from the cluster.
    :param states: The states of their tasks, from Airflow. It was asked after the cluster, so a task that
        submits a job meanwhile is never mistaken for one that is over.
    """

    at: float
    jobs: Sequence[OwnJob]
    states: States


@dataclass(frozen=True)
class Suspicion:
    """A job that looks unwanted, but has to look so for longer.

    :param job: The job.
    :param why: Why it looks unwanted.
    :param state: The state of its task, :data:`GONE` if it has none.
    :param since: When the first look began that saw it so.
    """

    job: OwnJob
    why: Why
    state: str
    since: float

    def __str__(self) -> str:
        if self.why is Why.OVER:
            return f"its task {self.job.task} is {self.state}"
        if self.why is Why.RESTARTING:
            return f"its task {self.job.task} was cleared while it ran, and has not been run again"
        return f"Airflow no longer has its task {self.job.task}"


Suspicions = Mapping[str, Suspicion]
"""Suspicions by submission ID."""


@dataclass(frozen=True)
class Verdict:
    """What follows from a look.

    :param suspicions: What the next look has to know.
    :param orphans: Jobs to stop now.
    :param spared: Jobs that would be stopped, if not so many tasks were gone at once that Airflow's database
        or its name must be wrong.
    """

    suspicions: Suspicions = field(default_factory=dict)
    orphans: tuple[Suspicion, ...] = ()
    spared: tuple[Suspicion, ...] = ()


def own_metadata(deployment: str) -> dict[str, str]:
    """Return the metadata of the jobs that this Airflow may stop. Jobs of version 0.1.0 have less.

    :param deployment: The name of this Airflow.
    :raises ValueError: if it has none, because jobs of other Airflows would count as its own.
    """
    if not deployment:
        raise ValueError("An Airflow without a name can't tell its jobs from those of others.")
    return {DEPLOYMENT_KEY: deployment, WAITS_KEY: "true", STOP_ON_KILL_KEY: "true"}


def own_jobs(jobs: Iterable[JobInfo], deployment: str) -> list[OwnJob]:
    """Return the jobs that run or wait and that this Airflow may stop."""
    wanted = own_metadata(deployment).items()
    return [
        OwnJob(job.job_id, task)
        for job in jobs
        if not job.is_terminal and wanted <= job.metadata.items()
        if (task := TaskInstanceRef.of_job(job.metadata)) is not None
    ]


def judge(
    look: Look, before: Suspicions, pace: CollectPace, *, spares_many: bool = True
) -> Verdict:
    """Return which jobs to stop after a look, and what to remember for the next one.

    :param before: What the look before this one left to remember.
    :param spares_many: Whether to stop no job of a gone task if ten tasks or more, and more than half of
        all, are gone at once.
    """
    suspicions = {
        job.job_id: suspicion
        for job in look.jobs
        if (suspicion := _suspicion(job, look, before.get(job.job_id))) is not None
    }
    due = [one for one in suspicions.values() if _is_due(one, look, pace)]
    is_too_much = spares_many and _too_many_are_gone(look)
    spared = [one for one in due if is_too_much and one.why is Why.GONE]
    orphans = [one for one in due if not (is_too_much and one.why is Why.GONE)]
    return Verdict(suspicions, tuple(orphans), tuple(spared))


def _suspicion(job: OwnJob, look: Look, earlier: Suspicion | None) -> Suspicion | None:
    if job.task not in look.states:
        return earlier  # such a look counts neither way
    state = look.states[job.task]
    why = _why(state)
    if why is None:
        return None
    since = earlier.since if earlier is not None and earlier.why is why else look.at
    return Suspicion(job, why, state or "", since)


def _is_due(suspicion: Suspicion, look: Look, pace: CollectPace) -> bool:
    is_answered = suspicion.job.task in look.states
    return is_answered and look.at - suspicion.since >= pace.least_age(suspicion.why)


def _why(state: str | None) -> Why | None:
    if state == GONE:
        return Why.GONE
    if state == _RESTARTING:
        return Why.RESTARTING
    return Why.OVER if state in _OVER else None


def _too_many_are_gone(look: Look) -> bool:
    """Whether so many tasks are gone that something else must be wrong."""
    states = [look.states[job.task] for job in look.jobs if job.task in look.states]
    gone = states.count(GONE)
    return gone >= _MANY and gone * 2 > len(states)
