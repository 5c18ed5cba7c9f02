"""Looks at one cluster again and again, from inside the triggerer, and stops jobs that nobody wants."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from airflow_synapse.collecting import texts
from airflow_synapse.collecting.orphans import (
    CollectPace,
    Look,
    States,
    Suspicion,
    Suspicions,
    Verdict,
    judge,
    own_jobs,
    own_metadata,
)
from airflow_synapse.collecting.questions import Question, questions_about
from airflow_synapse.exceptions import AirflowSynapseError, RayClusterGoneError
from airflow_synapse.handover.job_metadata import TaskInstanceRef
from airflow_synapse.hooks.cluster_ref import ClusterRef
from airflow_synapse.hooks.connection import RayConnection
from airflow_synapse.hooks.limits import watch_limits
from airflow_synapse.rayjobs.client.budget import Lane
from airflow_synapse.rayjobs.client.jobs_api import JobsApi
from airflow_synapse.rayjobs.job.stopping import stop_all
from airflow_synapse.rayjobs.reporting import ORPHANS_STOPPED, Metrics
from airflow_synapse.rayjobs.watching.cluster_watch import shared_watch

log = logging.getLogger(__name__)

Ask = Callable[[Question], Awaitable[States]]
"""Asks Airflow. Raises whatever went wrong."""

Seats = dict[str, "Lookout"]
"""Which lookout looks at the cluster with this address. Several connections may lead to one cluster."""

_AT_A_TIME = 50
"""How many jobs are stopped before the time is looked at again."""

_PAUSE_PER_LIST = 20.0
"""How many times longer than a list of jobs the pause after it is. A head node that remembers 10,000 jobs is
busy with their list for 3 s, and answers nothing else meanwhile."""

_LONGEST_PAUSE = 600.0
"""The longest of these pauses, in seconds."""

_GIVE_UP_AFTER = 3600.0
"""Seconds for which all looks at a RayCluster may fail. Only Kubernetes can tell a deleted one from an outage, and
it isn't always on the way. The next trigger on the cluster starts another lookout."""

_LOOKS_BEFORE_NEXT_TRY = 10
"""How many intervals pass before a stop is tried again. Each try takes as long as a request may."""


class Lookout:
    """Looks at one cluster.

    :param cluster_ref: Where the cluster is.
    :param deployment: The name of this Airflow.
    :param pace: How far apart the looks are.
    :param ask: Asks Airflow for the states of tasks.
    :param seats: What all lookouts of a triggerer share, so that each cluster is looked at only once.
    :param metrics: Where metrics go.
    """

    def __init__(
        self,
        cluster_ref: ClusterRef,
        *,
        deployment: str,
        pace: CollectPace,
        ask: Ask,
        seats: Seats,
        metrics: Metrics,
    ) -> None:
        self._ref = cluster_ref
        self._deployment = deployment
        self._pace = pace
        self._ask = ask
        self._seats = seats
        self._metrics = metrics
        self._suspicions: Suspicions = {}
        self._address = ""
        self._failing_since: float | None = None
        self._is_sparing = False
        self._not_before: dict[str, float] = {}
        self._least_pause = 0.0

    async def keep_looking(self) -> None:
        """Look until cancelled, whatever goes wrong, or until a RayCluster is gone or seems to be."""
        await asyncio.sleep(self._pace.first)
        while True:
            try:
                await self.look()
            except RayClusterGoneError:
                self._leave_seat()
                return  # and its jobs with it
            except Exception as exc:  # noqa: BLE001  # jobs are orphaned in bad times: look again
                self._leave_seat()
                self._tell_failure(exc)
                if self._seems_gone():
                    log.info(texts.NO_MORE_LOOKS, self._ref)
                    return
            else:
                self._tell_success()
            await asyncio.sleep(max(self._pace.interval, self._least_pause))

    async def look(self) -> None:
        """Look once, and stop the jobs that two looks agree about."""
        connection = await self._ref.aresolve()
        if not self._take_seat(connection.cluster.address):
            return
        async with shared_watch(connection.cluster, watch_limits(), metrics=self._metrics) as watch:
            verdict, until = await self._verdict(watch.api)
            self._suspicions = verdict.suspicions
            self._tell_spared(verdict, connection)
            await self._stop(watch.api, self._ripe(verdict.orphans), until)

    async def _verdict(self, api: JobsApi) -> tuple[Verdict, float]:
        """Return what follows from a look, and the time until which that may be relied on."""
        now = asyncio.get_running_loop().time
        began = now()
        infos = await api.in_lane(Lane.STATUS).list_active(own_metadata(self._deployment))
        self._least_pause = min((now() - began) * _PAUSE_PER_LIST, _LONGEST_PAUSE)
        # In a thread, as below, because thousands of jobs take a tenth of a second.
        jobs = await asyncio.to_thread(own_jobs, infos, self._deployment)
        states = await self._states([job.task for job in jobs])
        look = Look(began, jobs, states)
        verdict = await asyncio.to_thread(judge, look, self._suspicions, self._pace)
        return verdict, now() + self._pace.interval

    async def _states(self, tasks: Sequence[TaskInstanceRef]) -> States:
        """Return the states of tasks, as far as Airflow answers."""
        states: dict[TaskInstanceRef, str | None] = {}
        for question in await asyncio.to_thread(questions_about, tasks):
            try:
                states.update(await self._ask(question))
            except asyncio.TimeoutError:
                log.debug("Airflow gave no answer about its tasks in time.")
                break
            except Exception as exc:  # noqa: BLE001  # without an answer no job is stopped
                log.debug("Airflow could not say how the tasks of %s are: %r", question.dag_id, exc)
        return states

    def _ripe(self, orphans: Sequence[Suspicion]) -> list[Suspicion]:
        """Leave out jobs whose stop was tried in vain a short time ago, as Ray can't stop what is PENDING."""
        now, before = asyncio.get_running_loop().time(), self._not_before
        self._not_before = {name: at for name, at in before.items() if name in self._suspicions}
        return [one for one in orphans if now >= before.get(one.job.job_id, now)]

    async def _stop(self, api: JobsApi, orphans: Sequence[Suspicion], until: float) -> None:
        now = asyncio.get_running_loop().time
        for start in range(0, len(orphans), _AT_A_TIME):
            if start and now() > until:
                return  # the rest waits for fresh answers from Airflow
            part = {one.job.job_id: one for one in orphans[start : start + _AT_A_TIME]}
            for job_id, end in (await stop_all(api, part)).items():
                self._note_end(api, part[job_id], end)

    def _note_end(self, api: JobsApi, orphan: Suspicion, end: object) -> None:
        """Tell how a stop ended, which is what :func:`.stop_all` returns about it."""
        job_id, cluster = orphan.job.job_id, api.cluster.address
        if isinstance(end, AirflowSynapseError):
            pause = _LOOKS_BEFORE_NEXT_TRY * self._pace.interval
            self._not_before[job_id] = asyncio.get_running_loop().time() + pause
            log.warning(texts.NOT_STOPPED_YET, job_id, cluster, orphan, end, pause)
        elif end:
            log.info(texts.STOPPED, job_id, cluster, orphan)
            self._metrics.count(ORPHANS_STOPPED)

    # Who looks at a cluster

    def _take_seat(self, address: str) -> bool:
        """Return whether no other lookout looks at the cluster with this address."""
        if address != self._address:
            self._leave_seat()
            self._address, self._suspicions = address, {}
        has_seat = self._seats.setdefault(address, self) is self
        if not has_seat:
            self._suspicions = {}  # the other may see that a task is wanted again
        return has_seat

    def _leave_seat(self) -> None:
        """Let another connection to the same cluster try, which may have better credentials."""
        if self._seats.get(self._address) is self:
            del self._seats[self._address]

    def _seems_gone(self) -> bool:
        since = self._failing_since
        if self._ref.ray_cluster is None or since is None:
            return False  # a connection stays
        return asyncio.get_running_loop().time() - since >= _GIVE_UP_AFTER

    # What is told

    def _tell_spared(self, verdict: Verdict, connection: RayConnection) -> None:
        is_new = verdict.spared and not self._is_sparing
        self._is_sparing = bool(verdict.spared)
        if is_new:
            command = texts.by_force(self._ref)
            log.error(
                texts.refusal(
                    len(verdict.spared), cluster=connection.cluster.address, command=command
                )
            )

    def _tell_failure(self, error: Exception) -> None:
        is_known = isinstance(error, AirflowSynapseError)
        level = logging.WARNING if self._failing_since is None else logging.DEBUG
        log.log(level, texts.NO_LOOK, self._ref, error, exc_info=None if is_known else error)
        if self._failing_since is None:
            self._failing_since = asyncio.get_running_loop().time()

    def _tell_success(self) -> None:
        if self._failing_since is not None:
            log.info(texts.LOOK_AGAIN, self._ref)
        self._failing_since = None
