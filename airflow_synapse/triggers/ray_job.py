"""Watches one Ray job in Airflow's triggerer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from airflow_synapse import settings
from airflow_synapse.durations import to_interval
from airflow_synapse.exceptions import AirflowSynapseError
from airflow_synapse.handover.events import event_of
from airflow_synapse.handover.followers import TRIGGERS, Following
from airflow_synapse.handover.xcom_keys import JOB_ID_KEY, JOB_PAGE_KEY
from airflow_synapse.hooks.cluster_ref import CLUSTER_FIELDS, ClusterRef
from airflow_synapse.hooks.connection import RayConnection
from airflow_synapse.hooks.template_values import to_required_text
from airflow_synapse.rayjobs.job.outcome import TIMEOUT, Outcome
from airflow_synapse.rayjobs.models import SUCCEEDED
from airflow_synapse.rayjobs.watching.pace import USUAL_PACE
from airflow_synapse.triggers import log_channel
from airflow_synapse.triggers.garbage import FREEZER
from airflow_synapse.triggers.log_checkpoint import LogCheckpoint
from airflow_synapse.triggers.task_state import is_wanted
from airflow_synapse.triggers.xcoms import set_xcom
from airflow_synapse.version_compat import TRIGGERS_HAVE_ON_KILL

_POLL_INTERVAL = 5.0
_UNREACHABLE_TIMEOUT = 600.0

_LONGEST_WAIT_FOR_READER = 60.0
"""Seconds that the event waits for Airflow to read the lines before it."""

_loading: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

_numbers = count()
"""Tells which of two triggers began later."""

_kills: set[asyncio.Task[None]] = set()
"""Kills in progress. They are kept here because the event loop has only weak references to its tasks."""


@dataclass(frozen=True)
class KillPace:
    """The times of a kill, in seconds unless stated otherwise.

    :param longest_stay: The longest time that :meth:`RayJobTrigger.on_kill` takes.
    :param tries_to_ask: How often to ask Airflow whether the task still waits.
    :param ask_timeout: The longest time for each of these tries. The first question that a triggerer asks
        can take 20 s.
    :param pause_before_asking_again: The pause between two of them.
    """

    longest_stay: float = 10.0
    tries_to_ask: int = 3
    ask_timeout: float = 30.0
    pause_before_asking_again: float = 1.0


class RayJobEvent(TriggerEvent):
    """An event that hides its payload from the log line with which Airflow announces events."""

    def __repr__(self) -> str:
        payload = self.payload if isinstance(self.payload, dict) else {}
        return f"RayJobEvent<{payload.get('job_id')} {payload.get('status')}>"


class RayJobTrigger(BaseTrigger):
    """Waits for a Ray job to end, shows its log meanwhile, and yields one event.

    The event is a dict with ``status`` (``SUCCEEDED``, ``FAILED``, ``STOPPED``, ``TIMEOUT``,
    ``NOT_FOUND``, ``UNREACHABLE`` or ``ERROR``), ``job_id``, ``message``, ``error_type``,
    ``driver_exit_code``, and ``result`` if there is a small one. The rest of it is for the task that the
    trigger belongs to, and may change.

    :param job_id: The job's submission ID.
    :param ray_conn_id: The connection to its cluster. The default is ``ray_default``.
    :param ray_cluster: Instead of it: a RayCluster on Kubernetes, as ``namespace/name``.
    :param kubernetes_conn_id: The connection to the Kubernetes cluster that has it.
    :param reach: The way to it.
    :param poll_interval: The longest time between two status requests: seconds, a timedelta or an ISO 8601
        duration.
    :param stream_logs: Whether to show the job's log in the task's log.
    :param stop_on_kill: Whether to stop the job when a user kills the task.
    :param fetch_result: Whether to add the action's result to the event.
    :param deadlines: Absolute times (seconds since the epoch), keyed by the name of the user's limit.
        When one has passed, the job is stopped.
    :param unreachable_timeout: How long to wait for a cluster that gives no usable answer, in the same
        forms.
    :param log_lines_per_second: How many lines of the job's log to show per second on average, 0 for all.
        The default is ``[ray] log_lines_per_second``.
    :param end_from_trigger: Whether to end the task here if the job SUCCEEDED.
    :param is_first: Whether no worker has run the task before. The trigger then keeps the XComs for the
        link and the tab "Ray job".
    """

    pace = USUAL_PACE
    """How often the watch looks at the job."""

    kill_pace = KillPace()
    """How long :meth:`on_kill` takes, and how often it asks Airflow."""

    def __init__(
        self,
        job_id: str,
        ray_conn_id: str | None = None,
        *,
        ray_cluster: Any = None,
        kubernetes_conn_id: str | None = None,
        reach: str | None = None,
        poll_interval: float | timedelta | str = _POLL_INTERVAL,
        stream_logs: bool = True,
        stop_on_kill: bool = True,
        fetch_result: bool = True,
        deadlines: Mapping[str, float] | None = None,
        unreachable_timeout: float | timedelta | str = _UNREACHABLE_TIMEOUT,
        log_lines_per_second: float | None = None,
        end_from_trigger: bool = False,
        is_first: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's has no annotations
        self.job_id = job_id
        self.ray_conn_id = ray_conn_id
        self.ray_cluster = ray_cluster
        self.kubernetes_conn_id = kubernetes_conn_id
        self.reach = reach
        self.poll_interval = to_interval(poll_interval, "poll_interval", default=_POLL_INTERVAL)
        self.stream_logs = stream_logs
        self.stop_on_kill = stop_on_kill
        self.fetch_result = fetch_result
        self.deadlines = dict(deadlines or {})
        self.unreachable_timeout = to_interval(
            unreachable_timeout, "unreachable_timeout", default=_UNREACHABLE_TIMEOUT
        )
        self.log_lines_per_second = log_lines_per_second
        self.end_from_trigger = end_from_trigger
        self.is_first = is_first
        self._has_fired = False
        self._cluster = ""
        self._following: Following | None = None

    @property
    def cluster_ref(self) -> ClusterRef:
        """Where the cluster is, once Airflow has rendered the trigger's arguments."""
        return ClusterRef.of(**{name: getattr(self, name) for name in CLUSTER_FIELDS})

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what another triggerer needs to continue."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "job_id": self.job_id,
                **self.cluster_ref.arguments(),
                "poll_interval": self.poll_interval,
                "stream_logs": self.stream_logs,
                "stop_on_kill": self.stop_on_kill,
                "fetch_result": self.fetch_result,
                "deadlines": self.deadlines,
                "unreachable_timeout": self.unreachable_timeout,
                "log_lines_per_second": self.log_lines_per_second,
                "end_from_trigger": self.end_from_trigger,
                "is_first": self.is_first,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch the job and yield the event, once all lines before it are in the task's log."""
        checkpoint = LogCheckpoint(self.task_instance, str(self.job_id), logger=self.log)
        try:
            outcome = await self._outcome(checkpoint)
            await log_channel.wait_until_read(_LONGEST_WAIT_FOR_READER)
            await checkpoint.flush()  # the triggerer may be shut down before it has sent the event
            if self.stop_on_kill and outcome.info is None and outcome.status != TIMEOUT:
                await checkpoint.hand_back()
        except asyncio.CancelledError:
            await checkpoint.flush()
            if not TRIGGERS_HAVE_ON_KILL:
                await self.on_kill()
            raise
        self._has_fired = True
        if self.end_from_trigger and outcome.status == SUCCEEDED:
            yield TaskSuccessEvent()
            return
        yield RayJobEvent(event_of(outcome))  # type: ignore[call-arg]  # pydantic's plugin does not see __init__

    async def _outcome(self, checkpoint: LogCheckpoint) -> Outcome:
        connection: RayConnection | None = None
        try:
            # An operator has seen to this, but a sensor that starts here may have a template of a number.
            self.job_id = to_required_text(self.job_id, "job_id")
            connection = await self.cluster_ref.aresolve()
            if self.is_first:
                await self._tell_page(connection)
            outcome = await self._watch(connection, checkpoint)
        except Exception as exc:  # whatever it is, the task must hear of it
            if not isinstance(exc, AirflowSynapseError):
                self.log.exception("Watching Ray job %s failed.", self.job_id)
            cluster = connection.cluster.address if connection else None
            outcome = Outcome.of_failure(exc, job_id=self.job_id, cluster=cluster)
        page = connection.job_page(self.job_id) if connection is not None else None
        return replace(outcome, page=page)

    async def _tell_page(self, connection: RayConnection) -> None:
        """Keep the XComs that a worker would have kept before it deferred the task."""
        task_instance = self.task_instance
        if task_instance is not None:
            await set_xcom(task_instance, JOB_ID_KEY, self.job_id)
            await set_xcom(task_instance, JOB_PAGE_KEY, connection.job_page(self.job_id))

    async def _watch(self, connection: RayConnection, checkpoint: LogCheckpoint) -> Outcome:
        if self.stop_on_kill:
            self._cluster = connection.cluster.address
            self._following = TRIGGERS.follow(
                self.job_id, cluster=self._cluster, rank=next(_numbers)
            )
        await _load_http()
        from airflow_synapse.rayjobs.watching.job_watcher import WatchOptions
        from airflow_synapse.triggers.watching import collect_orphans, watch_job

        collect_orphans(self.cluster_ref)
        options = WatchOptions(
            poll_interval=self.poll_interval,
            stream_logs=self.stream_logs,
            unreachable_timeout=self.unreachable_timeout,
            deadlines=self.deadlines,
            log_lines_per_second=settings.log_lines_per_second(self.log_lines_per_second),
            fetch_result=self.fetch_result,
        )
        return await watch_job(
            connection,
            self.job_id,
            options=options,
            checkpoint=checkpoint,
            pace=self.pace,
            logger=self.log,
        )

    async def on_kill(self) -> None:
        """Stop the job if a user killed the task.

        While this is busy, the triggerer sees the trigger still running and cancels it again every second.
        So the work is done in an asyncio task of its own. This method waits for it a while, because
        lines reach the task's log only until it returns.
        """
        if self._has_fired or not self.stop_on_kill:
            return
        work = asyncio.create_task(self._kill())
        _kills.add(work)
        work.add_done_callback(_kills.discard)
        loop = asyncio.get_running_loop()
        end = loop.time() + self.kill_pace.longest_stay
        while not work.done() and (left := end - loop.time()) > 0:
            with suppress(asyncio.CancelledError):
                await asyncio.wait({work}, timeout=left)

    async def _kill(self) -> None:
        await self._stop_unless_wanted()
        await log_channel.wait_until_read(self.kill_pace.longest_stay)

    async def _stop_unless_wanted(self) -> None:
        """Stop the job unless the task still wants it.

        It does if the triggers of a slow triggerer are moved to another one (apache/airflow#73454), if a
        later try has taken the job over and, before Airflow 3.3, if the triggerer is shut down.
        """
        try:
            is_job_wanted = await self._is_wanted()
        except Exception as exc:  # noqa: BLE001  # whatever it is, if in doubt the job keeps running
            self.log.warning(
                "Airflow could not say whether the task still wants Ray job %s, so the job was left "
                "running: %r",
                self.job_id,
                exc,
            )
            return
        if is_job_wanted or self._is_followed_by_another():
            self.log.info("The task still wants Ray job %s, so the job keeps running.", self.job_id)
            return
        try:
            await _load_http()
            from airflow_synapse.triggers.watching import stop_job

            connection = await self.cluster_ref.aresolve()
            await stop_job(connection, self.job_id, logger=self.log)
        except Exception:
            self.log.exception("Ray job %s may still run, because stopping it failed.", self.job_id)

    def _is_followed_by_another(self) -> bool:
        """Whether another trigger of this process watches the job. Where Airflow can be asked, it says so itself."""
        if self.task_instance is not None or self._following is None:
            return False
        rank = self._following.rank
        return TRIGGERS.has_later(self.job_id, cluster=self._cluster, rank=rank)

    async def _is_wanted(self) -> bool:
        """Ask Airflow, and ask again if it can't say."""
        for _ in range(self.kill_pace.tries_to_ask - 1):
            try:
                return await asyncio.wait_for(self._ask(), self.kill_pace.ask_timeout)
            except Exception as exc:  # noqa: BLE001  # depends on what Airflow's API server did
                self.log.debug("Airflow could not say in which state the task is: %r", exc)
                await asyncio.sleep(self.kill_pace.pause_before_asking_again)
        return await asyncio.wait_for(self._ask(), self.kill_pace.ask_timeout)

    async def _ask(self) -> bool:
        return await is_wanted(self.task_instance, self.job_id)


async def _load_http() -> None:
    """Import the HTTP code in a thread, because that takes 0.2 s. Many triggers may start at once."""
    async with _loading.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        if not _import_http.cache_info().currsize:
            await asyncio.to_thread(_import_http)


@cache
def _import_http() -> None:
    FREEZER.install()
    import anyio

    from airflow_synapse.triggers.watching import metrics

    metrics()
    anyio.run(anyio.sleep, 0)  # imports its backend now, not when the first job ends
    FREEZER.install()
