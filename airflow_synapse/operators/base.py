"""What all operators that run a Ray job share: submit it once, wait for it, leave none behind."""

from __future__ import annotations

import os
import time
import uuid
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_synapse.exceptions import RayJobEntrypointError, RayJobStoppedError
from airflow_synapse.hooks import settings
from airflow_synapse.hooks.ray_job import RayJobHook
from airflow_synapse.hooks.xcom_keys import (
    DASHBOARD_URL_KEY,
    JOB_ID_KEY,
    LOG_POSITION_KEY,
    log_position,
)
from airflow_synapse.lineage.asset_events import tell_assets
from airflow_synapse.lineage.job_facts import JobFacts
from airflow_synapse.lineage.openlineage import OpenLineageFacets, with_parent_run
from airflow_synapse.links.ray_job import RayJobLink
from airflow_synapse.operators.arguments import deadlines_of, plain_path, to_number, to_seconds
from airflow_synapse.operators.attempts import Attempt, choose_attempt, task_run
from airflow_synapse.operators.hidden_templates import HiddenTemplates
from airflow_synapse.operators.retry_policy import fails_for_good_where_a_retry_is_in_vain
from airflow_synapse.operators.skipping import skip_if_wanted
from airflow_synapse.operators.waiting import wait_in_worker
from airflow_synapse.rayjobs.metrics import SUBMISSIONS_ADOPTED, SUBMISSIONS_NEW
from airflow_synapse.rayjobs.models import PENDING, JobInfo
from airflow_synapse.version_compat import (
    AirflowFailException,
    TaskDeferralError,
    TaskDeferralTimeout,
    conf,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_synapse.rayjobs.executor import RayJobExecutor
    from airflow_synapse.rayjobs.job_watcher import WatchOptions
    from airflow_synapse.rayjobs.preparation import PreparedJob

_LIMITS = ("job_timeout", "pending_timeout")
_DEFERRAL_SLACK = 60.0
"""Seconds by which Airflow's own limit on a deferral lies behind ours: it would end the task without
calling us, and leave the job running."""


class RayJobOperator(OpenLineageFacets, HiddenTemplates):
    """Submits one Ray job and, by default, waits for it. Subclasses say what the job runs.

    A job is submitted once per try, whatever dies in between: its id is made of the task run, and a
    new try adopts a job that still runs or has succeeded. A job that FAILED or was STOPPED gets a
    new one. STOPPED means that somebody decided so: the task fails without a retry.

    ``env`` and ``runtime_env`` may hold templates, too, but do not show up among the rendered
    templates, as their values may be secrets.

    :param ray_conn_id: The connection of the cluster, of type ``ray``.
    :param working_dir: Folder, or ``.zip`` URI, that the job runs in.
    :param requirements_file: Instead of the folder's ``requirements.txt``.
    :param package_manager: ``pip`` or ``uv``.
    :param package_manager_options: Options of the install, or fields of Ray's ``pip``/``uv``.
    :param wheels_dir: Folder of wheels inside ``working_dir``.
    :param env: Environment of the job. Nothing of the worker's own environment is sent.
    :param runtime_env: Ray's runtime_env, merged over the generated one.
    :param num_cpus: CPU cores that the entrypoint reserves.
    :param num_gpus: GPUs that it reserves.
    :param memory: Bytes that it reserves.
    :param resources: Custom resources that it reserves.
    :param custom_resources: The same. Airflow's operators have an argument ``resources`` of their own, so
        this is the name for ``default_args``, for ``.override()``, and in ``.partial()`` for an XCom.
    :param label_selector: Labels that its node must have.
    :param metadata: Strings kept with the job, besides Airflow's ids.
    :param job_id: The submission id, instead of one made of the task run. A later attempt adds its
        number to it.
    :param wait_for_completion: Whether to wait for the job to end. Otherwise the task succeeds with
        the job's id as soon as the job is submitted.
    :param deferrable: Whether to wait in the triggerer, by default as ``[operators]
        default_deferrable`` says.
    :param poll_interval: Seconds between two looks at the job's status at most.
    :param job_timeout: How long the job may take from its submission on: seconds, timedelta or ISO
        8601 duration. Then it is stopped and the task fails.
    :param pending_timeout: How long it may wait to be scheduled, likewise.
    :param unreachable_timeout: Seconds to wait for a cluster that gives no usable answer.
    :param stream_logs: Whether to show the job's log in the task's log.
    :param log_lines_per_second: How many lines of it are shown on the average, 0 for all; by default
        as ``[ray] log_lines_per_second`` says.
    :param stop_on_kill: Whether to stop the job when the task is killed, cleared or marked.
    :param reattach: Whether a new try may adopt the job of an earlier one.
    :param retry_user_errors: Whether Airflow's ``retries`` hold for all failures. If not, the task
        fails at once where the job's own code, its runtime_env or its params failed, and only what
        the cluster did is retried; on Airflow 3.3 as
        :class:`~airflow_synapse.operators.retry_policy.RayJobRetryPolicy` does.
    :param skip_on_exit_code: If the job's command or code exits with this code, or one of these, the task
        is skipped instead of failed.
    :param openlineage_inject_parent_job_info: Whether the job's environment tells OpenLineage which task
        started it, where that provider is installed.
    """

    template_fields: Sequence[str] = (
        "ray_conn_id",
        "working_dir",
        "requirements_file",
        "package_manager",
        "package_manager_options",
        "wheels_dir",
        "num_cpus",
        "num_gpus",
        "memory",
        "custom_resources",
        "label_selector",
        "metadata",
        "job_id",
        "job_timeout",
        "pending_timeout",
        *HiddenTemplates.hidden_template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "custom_resources": "json",
        "metadata": "json",
        "package_manager_options": "json",
    }
    operator_extra_links = (RayJobLink(),)
    ui_color = "#dff0fb"

    def __init__(
        self,
        *,
        # Cluster
        ray_conn_id: str = RayJobHook.default_conn_name,
        # Code and environment
        working_dir: str | os.PathLike[str] | None = None,
        requirements_file: str | os.PathLike[str] | None = None,
        package_manager: str | None = None,
        package_manager_options: Mapping[str, Any] | Sequence[str] | None = None,
        wheels_dir: str | None = None,
        env: Mapping[str, str] | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        # Resources
        num_cpus: float | str | None = None,
        num_gpus: float | str | None = None,
        memory: int | str | None = None,
        resources: Mapping[str, float] | None = None,
        custom_resources: Mapping[str, float] | None = None,
        label_selector: Mapping[str, str] | None = None,
        # Job
        metadata: Mapping[str, str] | None = None,
        job_id: str | None = None,
        # Waiting
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: float = 5.0,
        job_timeout: float | timedelta | str | None = None,
        pending_timeout: float | timedelta | str | None = None,
        unreachable_timeout: float = 600.0,
        # Logs and ends
        stream_logs: bool = True,
        log_lines_per_second: float | None = None,
        stop_on_kill: bool = True,
        reattach: bool = True,
        retry_user_errors: bool = True,
        skip_on_exit_code: int | Collection[int] | None = None,
        openlineage_inject_parent_job_info: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if resources is not None and custom_resources is not None:
            raise ValueError("resources and custom_resources are the same; give one of them")
        if deferrable is None:
            deferrable = conf.getboolean("operators", "default_deferrable", fallback=False)
        self.ray_conn_id = ray_conn_id
        self.working_dir = plain_path(working_dir)
        self.requirements_file = plain_path(requirements_file)
        self.package_manager = package_manager
        self.package_manager_options = package_manager_options
        self.wheels_dir = wheels_dir
        self.env = env
        self.runtime_env = runtime_env
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus
        self.memory = memory
        self.custom_resources = custom_resources if resources is None else resources
        self.label_selector = label_selector
        self.metadata = metadata
        self.job_id = job_id
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.job_timeout = job_timeout
        self.pending_timeout = pending_timeout
        self.unreachable_timeout = unreachable_timeout
        self.stream_logs = stream_logs
        self.log_lines_per_second = log_lines_per_second
        self.stop_on_kill = stop_on_kill
        self.reattach = reattach
        self.retry_user_errors = retry_user_errors
        self.skip_on_exit_code = skip_on_exit_code
        self.openlineage_inject_parent_job_info = openlineage_inject_parent_job_info
        self._submitted_id: str | None = None
        self._is_killed = False
        self.hide_templates()

    @abstractmethod
    def prepare(self, executor: RayJobExecutor, metadata: Mapping[str, str]) -> PreparedJob:
        """Return what the job runs."""

    @fails_for_good_where_a_retry_is_in_vain
    def execute(self, context: Context) -> Any:
        """Submit the job or adopt the one of an earlier try, and wait for it."""
        self.render_hidden_templates(context)
        limits = {name: to_seconds(getattr(self, name), name) for name in _LIMITS}
        self.job_page = ""
        hook = self._hook(**self._executor_options())
        attempt = self._submit(context, hook)
        context["ti"].xcom_push(key=JOB_ID_KEY, value=attempt.job_id)
        context["ti"].xcom_push(key=DASHBOARD_URL_KEY, value=self.job_page)
        if not self.wait_for_completion:
            tell_assets(context, self.outlets, self._facts)
            return attempt.job_id
        deadlines = deadlines_of(limits, attempt.found)
        has_ended = attempt.found is not None and attempt.found.is_terminal
        if self.deferrable and not has_ended:
            return self._defer(context, attempt.job_id, deadlines)
        options = self._watch_options(deadlines)
        event = wait_in_worker(hook, attempt.job_id, options=options, logger=self.log)
        return self.execute_complete(context, event)

    @fails_for_good_where_a_retry_is_in_vain
    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Turn the end of the job into the end of the task.

        :param event: What :class:`~airflow_synapse.triggers.ray_job.RayJobTrigger` told.
        """
        from airflow_synapse.triggers.events import error_of_event

        self._facts = JobFacts.of_event(event)
        error = error_of_event(event)
        if error is None:
            tell_assets(context, self.outlets, self._facts)
            return self.result_of(event)
        if self._facts is not None and self._facts.dashboard_url is not None:
            self.log.info("The job's page in the Ray dashboard: %s", self._facts.dashboard_url)
        if isinstance(error, RayJobStoppedError):
            self._refuse_if_killed()
            raise AirflowFailException(str(error)) from error
        if isinstance(error, RayJobEntrypointError):
            skip_if_wanted(error, self.skip_on_exit_code)
        raise error

    def result_of(self, event: Mapping[str, Any]) -> Any:
        """Return what the task returns for a job that succeeded."""
        return event.get("result")

    def on_kill(self) -> None:
        """Stop the job, unless the user wants it to go on.

        Airflow calls this in a signal handler. Where it interrupts the submission, the job is
        stopped once that is through, or not submitted at all.
        """
        self._is_killed = True
        if self._submitted_id is None or not self.stop_on_kill:
            return
        self._hook().stop_and_tell(self._submitted_id, logger=self.log)

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> Any:
        """Go on after the trigger; if it broke, leave no job behind that nobody would watch."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralError, TaskDeferralTimeout) as exc:
            ti = context["ti"]
            job_id = ti.xcom_pull(task_ids=self.task_id, key=JOB_ID_KEY, map_indexes=ti.map_index)
            self._facts = JobFacts(job_id)
            will_retry = ti.try_number <= ti.max_tries
            if isinstance(exc, TaskDeferralTimeout) or not (will_retry and self.reattach):
                self._hook().stop_and_tell(job_id, logger=self.log)
            else:
                self.log.warning("Ray job %s goes on; the next try takes it over.", job_id)
            raise

    def _executor_options(self) -> dict[str, Any]:
        return {
            "working_dir": self.working_dir,
            "requirements_file": self.requirements_file,
            "package_manager": self.package_manager,
            "package_manager_options": self.package_manager_options,
            "wheels_dir": self.wheels_dir,
            "env": self.env,
            "runtime_env": self.runtime_env,
            "num_cpus": to_number(self.num_cpus),
            "num_gpus": to_number(self.num_gpus),
            "memory": to_number(self.memory),
            "resources": self.custom_resources,
            "label_selector": self.label_selector,
        }

    def _hook(self, **executor_options: Any) -> RayJobHook:
        return RayJobHook(
            self.ray_conn_id, unreachable_timeout=self.unreachable_timeout, **executor_options
        )

    def _submit(self, context: Context, hook: RayJobHook) -> Attempt:
        """Submit the job of this try, or find it."""
        run = task_run(context, retries=self.retries or 0, deployment=settings.deployment())
        executor = hook.get_conn()
        prepared = self.prepare(executor, {**(self.metadata or {}), **run.metadata()})
        cluster, given = executor.cluster.dashboard_url, self.job_id or None
        with executor:
            if self.reattach:
                attempt = choose_attempt(run, executor.find_info, cluster=cluster, given=given)
            elif given:
                attempt = Attempt(run.job_id(run.try_number, given=given))
            else:
                attempt = Attempt(f"{run.job_id(run.try_number)}.{uuid.uuid4().hex[:8]}")
            if attempt.left_behind is not None and self.stop_on_kill:
                self._stop_left_behind(executor, attempt.left_behind)
            self._refuse_if_killed()
            self._submitted_id = attempt.job_id
            if attempt.found is not None:
                self.log.info(
                    "Took over Ray job %s of an earlier try; it is %s.",
                    attempt.job_id,
                    attempt.found.status,
                )
                executor.metrics.count(SUBMISSIONS_ADOPTED)
            else:
                if self.openlineage_inject_parent_job_info:
                    prepared = with_parent_run(prepared, context["ti"], logger=self.log)
                executor.submit_prepared(prepared, attempt.job_id)
                executor.metrics.count(SUBMISSIONS_NEW)
                self.log.info("Submitted Ray job %s to %s.", attempt.job_id, hook.ray_conn_id)
            if self._is_killed and self.stop_on_kill:
                executor.stop_and_tell(attempt.job_id, logger=self.log)
                self._refuse_if_killed()
        info = attempt.found or JobInfo(attempt.job_id, PENDING, metadata=prepared.spec.metadata)
        self.job_page = hook.job_page(attempt.job_id)
        self._facts = JobFacts.of(info, cluster=cluster, page=self.job_page)
        return attempt

    def _refuse_if_killed(self) -> None:
        if self._is_killed:
            raise RayJobStoppedError(
                job_id=self._submitted_id,
                reason="was stopped or never started, as the task was killed",
                hint="A retry submits it again.",
            )

    def _stop_left_behind(self, executor: RayJobExecutor, job: JobInfo) -> None:
        self.log.warning(
            "Ray job %s is still %s from before the task was cleared; stopping it.",
            job.job_id,
            job.status,
        )
        executor.stop_and_tell(job.job_id, logger=self.log)

    def _defer(self, context: Context, job_id: str, deadlines: dict[str, float]) -> None:
        from airflow_synapse.triggers.ray_job import RayJobTrigger

        if self.stream_logs:
            context["ti"].xcom_push(key=LOG_POSITION_KEY, value=log_position(job_id))
        timeout = None
        if self.execution_timeout is not None:
            started = context["ti"].start_date.timestamp()
            deadlines["execution_timeout"] = started + self.execution_timeout.total_seconds()
            left = deadlines["execution_timeout"] - time.time()
            timeout = timedelta(seconds=max(0.0, left) + _DEFERRAL_SLACK)
        self.defer(
            trigger=RayJobTrigger(
                job_id,
                self.ray_conn_id,
                poll_interval=self.poll_interval,
                stream_logs=self.stream_logs,
                stop_on_kill=self.stop_on_kill,
                fetch_result=self.do_xcom_push,
                deadlines=deadlines,
                unreachable_timeout=self.unreachable_timeout,
                log_lines_per_second=self.log_lines_per_second,
            ),
            method_name="execute_complete",
            timeout=timeout,
        )

    def _watch_options(self, deadlines: Mapping[str, float]) -> WatchOptions:
        from airflow_synapse.rayjobs.job_watcher import WatchOptions

        return WatchOptions(
            poll_interval=self.poll_interval,
            stream_logs=self.stream_logs,
            unreachable_timeout=self.unreachable_timeout,
            deadlines=deadlines,
            log_lines_per_second=settings.log_lines_per_second(self.log_lines_per_second),
        )
