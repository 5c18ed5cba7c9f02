"""Waits for a Ray job that something else submitted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator, BaseSensorOperator, XComArg

from airflow_synapse.durations import to_interval
from airflow_synapse.exceptions import (
    AirflowSynapseError,
    RayJobStoppedError,
    RayJobTimeoutError,
)
from airflow_synapse.handover.job_facts import JobFacts
from airflow_synapse.handover.xcom_keys import (
    JOB_ID_KEY,
    JOB_PAGE_KEY,
    LOG_POSITION_KEY,
    log_position,
)
from airflow_synapse.hooks.cluster_arguments import ClusterArguments
from airflow_synapse.hooks.cluster_ref import CLUSTER_FIELDS
from airflow_synapse.hooks.job_lines import show_lines
from airflow_synapse.hooks.template_values import to_required_text
from airflow_synapse.lineage.asset_events import tell_assets
from airflow_synapse.lineage.openlineage import OpenLineageFacets
from airflow_synapse.links.ray_job import RayJobLink
from airflow_synapse.rayjobs.job.failures import error_of
from airflow_synapse.rayjobs.models import SUCCEEDED, JobInfo
from airflow_synapse.version_compat import (
    TRIGGERS_RENDER_TEMPLATES,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferralTimeout,
    conf,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_synapse.rayjobs.executor import RayJobExecutor


_POLL_INTERVAL = 5.0
_UNREACHABLE_TIMEOUT = 600.0


class RayJobSensor(OpenLineageFacets, ClusterArguments, BaseSensorOperator):
    """Waits for a Ray job to succeed, and fails if the job FAILED or was STOPPED.

    Killing the sensor does not stop the job, because it belongs to somebody else.

    :param job_id: The job's submission ID.
    :param ray_conn_id: The connection to its cluster. Instead of it, ``ray_cluster``, ``kubernetes_conn_id`` and
        ``reach`` may name a RayCluster on Kubernetes.
    :param poll_interval: The longest time between two status requests while deferred: seconds, a timedelta
        or an ISO 8601 duration. The default is ``poke_interval`` if that is given, else 5.
    :param poke_interval: The same in the worker. The default is ``poll_interval``.
    :param stream_logs: Whether to show the job's log in the task's log. Reschedule mode never does.
    :param deferrable: Whether to wait in the triggerer. The default is ``[operators]
        default_deferrable``.
    :param unreachable_timeout: How long to wait for a cluster that gives no usable answer, in the same
        forms.
    :param log_lines_per_second: How many lines of the job's log to show per second on average while
        deferred, 0 for all. The default is ``[ray] log_lines_per_second``.
    :param start_from_trigger: Whether to start in the triggerer, without a worker slot. This needs Airflow
        3.3 and ``deferrable``. Without these, or if ``job_id`` is an XComArg, a worker defers the task as
        usual, and the log says so.
    :param end_from_trigger: Whether a success also ends in the triggerer. A failure still returns to a
        worker, which takes care of retries. Airflow then runs no ``on_success`` listeners, and it refuses
        a DAG with such a task if listeners are installed.
    """

    template_fields: Sequence[str] = ("job_id", *CLUSTER_FIELDS)
    operator_extra_links = (RayJobLink(),)
    ui_color = "#dff0fb"

    def __init__(
        self,
        *,
        job_id: str,
        poll_interval: float | timedelta | str | None = None,
        poke_interval: float | timedelta | None = None,
        stream_logs: bool = True,
        deferrable: bool | None = None,
        unreachable_timeout: float | timedelta | str = _UNREACHABLE_TIMEOUT,
        log_lines_per_second: float | None = None,
        start_from_trigger: bool = False,
        end_from_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        if poke_interval is None:
            poke_interval = to_interval(poll_interval, "poll_interval", default=_POLL_INTERVAL)
        super().__init__(poke_interval=poke_interval, **kwargs)
        if deferrable is None:
            deferrable = conf.getboolean("operators", "default_deferrable", fallback=False)
        self.job_id = job_id
        self.poll_interval = to_interval(poll_interval, "poll_interval", default=self.poke_interval)
        self.stream_logs = stream_logs
        self.deferrable = deferrable
        self.unreachable_timeout = to_interval(
            unreachable_timeout, "unreachable_timeout", default=_UNREACHABLE_TIMEOUT
        )
        self.log_lines_per_second = log_lines_per_second
        self.end_from_trigger = end_from_trigger and deferrable
        self.start_from_trigger = start_from_trigger and self._can_start_from_trigger()
        if self.start_from_trigger:
            from airflow.triggers.base import StartTriggerArgs

            self.start_trigger_args = StartTriggerArgs(
                trigger_cls="airflow_synapse.triggers.ray_job.RayJobTrigger",
                trigger_kwargs={**self._trigger_arguments(), "is_first": True},
                next_method="execute_complete",
                timeout=timedelta(seconds=self.timeout),
            )
        self._log_position = 0

    def execute(self, context: Context) -> Any:
        """Wait for the job, in the triggerer if deferrable."""
        self.job_page = ""
        self.job_id = to_required_text(self.job_id, "job_id")
        self.job_page = self.cluster_hook().job_page(self.job_id)
        context["ti"].xcom_push(key=JOB_ID_KEY, value=self.job_id)
        context["ti"].xcom_push(key=JOB_PAGE_KEY, value=self.job_page)
        if self.deferrable:
            if self.stream_logs:
                context["ti"].xcom_push(key=LOG_POSITION_KEY, value=log_position(self.job_id))
            self._defer(context)
        return super().execute(context)

    def _can_start_from_trigger(self) -> bool:
        """Return whether the task can start without a worker, and log the reason if it can't."""
        reason = ""
        if not self.deferrable:
            reason = "it is not deferrable"
        elif not TRIGGERS_RENDER_TEMPLATES:
            reason = "this needs Airflow 3.3"
        elif any(
            isinstance(value, XComArg) for value in (self.job_id, *self.cluster_fields.values())
        ):
            reason = "its arguments come from another task; use a template instead"
        elif "xcom_pull" in str(self.job_id) and "map_indexes" not in str(self.job_id):
            # Airflow 3.3's triggerer never answers that call, so the trigger would wait for ever.
            reason = "its template calls xcom_pull without map_indexes=-1"
        if reason:
            self.log.warning("Task %s does not start from the trigger: %s.", self.task_id, reason)
        return not reason

    def _trigger_arguments(self) -> dict[str, Any]:
        return {
            "job_id": self.job_id,
            **self.cluster_fields,
            "poll_interval": self.poll_interval,
            "stream_logs": self.stream_logs,
            "stop_on_kill": False,
            "fetch_result": False,
            "unreachable_timeout": self.unreachable_timeout,
            "log_lines_per_second": self.log_lines_per_second,
            "end_from_trigger": self.end_from_trigger,
        }

    def _defer(self, context: Context) -> NoReturn:
        from airflow_synapse.triggers.ray_job import RayJobTrigger

        timeout = timedelta(seconds=self.timeout)
        if self.execution_timeout is not None:
            spent = datetime.now(timezone.utc) - context["ti"].start_date
            timeout = min(timeout, self.execution_timeout - spent)
        self.defer(
            trigger=RayJobTrigger(**self._trigger_arguments()),
            method_name="execute_complete",
            timeout=timeout,
        )

    def poke(self, context: Context) -> bool:
        """Return whether the job has succeeded.

        :raises RayJobFailedError: if it FAILED.
        """
        hook = self.cluster_hook(unreachable_timeout=self.unreachable_timeout)
        executor = hook.get_conn()
        try:
            info = executor.get_info(self.job_id)
            if self.stream_logs and not self.reschedule:
                self._show_new_lines(executor, info)
            last_lines: list[str] = []
            if info.is_terminal and info.status != SUCCEEDED:
                with suppress(
                    AirflowSynapseError
                ):  # the error of the job says more than that of its log
                    last_lines = executor.get_last_lines(self.job_id)
        except AirflowSynapseError as exc:
            self._fail(exc)
        cluster = executor.cluster.address
        self._facts = JobFacts.of(info, cluster=cluster, page=hook.job_page(self.job_id))
        error = error_of(info, cluster=cluster, last_lines=last_lines)
        if error is not None:
            self._fail(error)
        if info.status != SUCCEEDED:
            return False
        tell_assets(context, self.outlets, self._facts)
        return True

    def execute_complete(self, context: Context, event: Any = None) -> None:
        """Turn the trigger's event into the end of the task."""
        from airflow_synapse.handover.events import outcome_of

        outcome = outcome_of(event)
        self._facts = JobFacts.of_outcome(outcome)
        error = outcome.error()
        if error is not None:
            self._fail(error)
        tell_assets(context, self.outlets, self._facts)

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> Any:
        """Continue after the trigger.

        This differs from Airflow's sensors, which with ``soft_fail`` skip on any AirflowException, even if
        the triggerer broke (apache/airflow#71255).
        """
        try:
            return BaseOperator.resume_execution(self, next_method, next_kwargs, context)
        except TaskDeferralTimeout as exc:
            execution_timeout = self.execution_timeout
            if execution_timeout is not None and execution_timeout.total_seconds() < self.timeout:
                raise RayJobTimeoutError(
                    job_id=self.job_id,
                    reason=f"did not end within the task's execution_timeout of {execution_timeout}",
                    hint="The job keeps running. A retry will wait for it again.",
                ) from exc
            limit = f"Ray job {self.job_id} did not end within the sensor's timeout of {self.timeout:g} s."
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(limit) from exc
            raise AirflowSensorTimeout(limit) from exc

    def _show_new_lines(self, executor: RayJobExecutor, info: JobInfo) -> None:
        self._log_position = executor.read_new_lines(
            info,
            position=self._log_position,
            emit=partial(show_lines, log=self.log),
            logger=self.log,
        )

    def _fail(self, error: AirflowSynapseError) -> NoReturn:
        if self.soft_fail or self.never_fail:
            self.log.warning("%s", error)
            raise AirflowSkipException(str(error)) from error
        if isinstance(error, RayJobStoppedError):
            raise AirflowFailException(str(error)) from error
        raise error
