"""Looks for jobs that nobody wants any more, waits, looks again, and stops them. Blocks.

The operator and the command do this. The triggerer does the same all the time, see ``lookout.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_synapse.collecting.orphans import (
    CollectPace,
    Look,
    States,
    Suspicion,
    Suspicions,
    Verdict,
    judge,
    own_jobs,
)
from airflow_synapse.collecting.questions import Question, questions_about
from airflow_synapse.exceptions import AirflowSynapseError
from airflow_synapse.handover.job_metadata import TaskInstanceRef
from airflow_synapse.plurals import counted
from airflow_synapse.rayjobs.reporting import ORPHANS_STOPPED

if TYPE_CHECKING:
    from airflow_synapse.rayjobs.executor import RayJobExecutor

Ask = Callable[[Question], States]
"""Asks Airflow. Raises whatever went wrong."""


@dataclass(frozen=True)
class Swept:
    """What a sweep did.

    :param stopped: The jobs that it stopped.
    :param not_stopped: The jobs that it could not stop, and why.
    :param spared: The jobs that it left alone, because the tasks of too many jobs are gone.
    """

    stopped: list[Suspicion] = field(default_factory=list)
    not_stopped: list[tuple[Suspicion, AirflowSynapseError]] = field(default_factory=list)
    spared: list[Suspicion] = field(default_factory=list)


class Sweep:
    """Finds and stops the jobs on one cluster that nobody wants any more.

    :param executor: The cluster.
    :param ask: Asks Airflow for the states of tasks.
    :param deployment: The name of this Airflow.
    :param pace: How far apart the looks are.
    :param spares_many: Whether to leave jobs alone if the tasks of ten or more, and more than half, are gone.
    """

    def __init__(
        self,
        executor: RayJobExecutor,
        ask: Ask,
        *,
        deployment: str,
        pace: CollectPace,
        spares_many: bool = True,
    ) -> None:
        self._executor = executor
        self._ask = ask
        self._deployment = deployment
        self._pace = pace
        self._spares_many = spares_many

    def suspects(self) -> list[Suspicion]:
        """Return the jobs that look unwanted now. To stop one, another look has to agree."""
        return list(self._look({}).suspicions.values())

    def run(self, tell: Callable[[str], object]) -> Swept:
        """Stop the jobs that look unwanted now and in a later look.

        This takes about ``pace.interval`` if tasks are over, ``pace.gone_after`` if tasks are gone, and no time
        at all if there is nothing to stop.

        :param tell: Told what is waited for.
        """
        swept = Swept()
        with self._executor:
            suspicions = self._look({}).suspicions
            if suspicions:
                tell(self._plan(suspicions))
            while suspicions:
                time.sleep(self._pace.interval)
                verdict = self._look(suspicions)
                self._stop(verdict, swept)
                suspicions = _still_open(verdict, suspicions)
        return swept

    def _look(self, before: Suspicions) -> Verdict:
        began = time.monotonic()
        jobs = own_jobs(self._executor.list_jobs(), self._deployment)
        states: dict[TaskInstanceRef, str | None] = {}
        for question in questions_about(job.task for job in jobs):
            states.update(self._ask(question))
        look = Look(began, jobs, states)
        return judge(look, before, self._pace, spares_many=self._spares_many)

    def _plan(self, suspicions: Suspicions) -> str:
        longest = max(self._pace.least_age(one.why) for one in suspicions.values())
        jobs = counted(len(suspicions), "job")
        return (
            f"Found {jobs} that nobody seems to want any more. Looking again before anything is stopped, which "
            f"takes about {longest:g} s."
        )

    def _stop(self, verdict: Verdict, swept: Swept) -> None:
        orphans = {one.job.job_id: one for one in verdict.orphans}
        for job_id, end in self._executor.stop_all(orphans).items():
            if isinstance(end, AirflowSynapseError):
                swept.not_stopped.append((orphans[job_id], end))
            elif end:
                swept.stopped.append(orphans[job_id])
                self._executor.metrics.count(ORPHANS_STOPPED)
        swept.spared.extend(verdict.spared)


def _still_open(verdict: Verdict, before: Suspicions) -> Suspicions:
    """Return the suspicions of the first look about which it is still open whether the job is stopped."""
    settled = {one.job.job_id for one in (*verdict.orphans, *verdict.spared)}
    return {
        job_id: now
        for job_id, now in verdict.suspicions.items()
        if job_id in before and job_id not in settled
    }
