"""What all operators for Ray jobs share: they submit a job once, wait for it and leave none behind."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_synapse import settings
from airflow_synapse.durations import to_seconds
from airflow_synapse.exceptions import (
    AirflowSynapseError,
    RayClusterUnreachableError,
    RayJobEntrypointError,
    RayJobFailedError,
    RayJobStoppedError,
    RayJobTimeoutError,
)
from airflow_synapse.handover.events import outcome_of
from airflow_synapse.handover.followers import TRIES
from airflow_synapse.handover.job_environment import context_vars
from airflow_synapse.handover.job_facts import JobFacts
from airflow_synapse.handover.job_metadata import wait_metadata
from airflow_synapse.handover.xcom_keys import (
    JOB_ID_KEY,
    JOB_PAGE_KEY,
    LOG_POSITION_KEY,
    log_position,
)
from airflow_synapse.hooks.job_lines import show_lines
from airflow_synapse.hooks.ray_job import RayJobHook
from airflow_synapse.hooks.template_values import to_text, to_texts
from airflow_synapse.lineage.asset_events import tell_assets
from airflow_synapse.lineage.openlineage import OpenLineageFacets, with_parent_run
from airflow_synapse.operators.attempts import (
    MAYBE_FOREIGN,
    Attempt,
    Expectation,
    before_anything_was_sent,
    choose_attempt,
    task_try,
)
from airflow_synapse.operators.ending.answerable import AnswerableOperator
from airflow_synapse.operators.retry_policy import fails_for_good_where_a_retry_is_in_vain
from airflow_synapse.operators.skipping import skip_if_wanted
from airflow_synapse.operators.waiting import (
    GAVE_UP,
    deadlines_of,
    refuse_if_too_late,
    submitted_at,
    waited_for_seconds,
    waited_metadata,
    waits_again,
)
from airflow_synapse.rayjobs.models import PENDING, JobInfo
from airflow_synapse.rayjobs.reporting import SUBMISSIONS_ADOPTED, SUBMISSIONS_NEW
from airflow_synapse.version_compat import (
    AirflowFailException,
    AirflowTaskTimeout,
    TaskDeferralError,
    TaskDeferralTimeout,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_synapse.rayjobs.executor import RayJobExecutor
    from airflow_synapse.rayjobs.job.outcome import Outcome
    from airflow_synapse.rayjobs.packing.preparation import PreparedJob
    from airflow_synapse.rayjobs.watching.job_watcher import WatchOptions

_LIMITS = ("job_timeout", "pending_timeout")
_DEFERRAL_SLACK = 60.0
"""Seconds by which Airflow's own limit on a deferral comes after ours, because it would end the task
without calling us and leave the job running."""


class RayJobOperator(OpenLineageFacets, AnswerableOperator):
    """Submits one Ray job and, by default, waits for it. Subclasses say what the job runs.

    A job is submitted only once, even if a worker dies in between: its submission ID is derived from the
    task instance, and a new try takes over a job that still runs or has succeeded. If the job FAILED or
    was STOPPED, a new try submits a new one. If a job is STOPPED, somebody wanted it to stop, so the task
    fails without a retry.

    See :class:`~airflow_synapse.operators.job_arguments.RayJobArguments` for its arguments.
    """

    _clock_ahead = 0.0
    """Seconds by which the cluster's clock is ahead of this worker's."""

    @abstractmethod
    def prepare(self, executor: RayJobExecutor, metadata: Mapping[str, str]) -> PreparedJob:
        """Return what the job runs."""

    @fails_for_good_where_a_retry_is_in_vain
    def execute(self, context: Context) -> Any:
        """Submit the job, or take over the job of an earlier try, and wait for it."""
        return self._run_and_answer(context)

    def _run_and_answer(self, context: Context, after: Outcome | None = None) -> Any:
        self._submitted_id = None
        with self._interruptible(context):
            try:
                return self._run(context, after)
            except AirflowTaskTimeout as exc:
                return self._after_timeout(context, self._submitted_id, exc)
            except KeyboardInterrupt:  # in a script or in `dag.test()`
                self._stop(context["ti"], self._submitted_id)
                raise

    def _run(self, context: Context, after: Outcome | None = None) -> Any:
        """Submit a job and wait for it, and again while Ray gives up on jobs that wait.

        :param after: How the job ended in whose place another is to wait.
        """
        limits = {name: to_seconds(getattr(self, name), name) for name in _LIMITS}
        self.job_page = ""
        hook = self._hook(**self._executor_options())
        while True:
            try:
                if after is not None:
                    refuse_if_too_late(after, limits)
                attempt = self._submit(context, hook, after)
                now = time.time() + self._clock_ahead
                deadlines = deadlines_of(limits, submitted_at(attempt.found, after, now=now))
                outcome = self._wait(context, hook, attempt, deadlines)
            except RayJobTimeoutError:  # the job is stopped
                raise
            except Exception as exc:
                self._stay_unless_killed()
                self._leave_to_next_try(context, self._submitted_id, exc)
                raise
            if outcome is None:
                return attempt.job_id
            if not self._waits_again(outcome):
                return self._complete(context, outcome)
            after, self._submitted_id = outcome, None

    def _wait(
        self, context: Context, hook: RayJobHook, attempt: Attempt, deadlines: dict[str, float]
    ) -> Outcome | None:
        """Return how the job ended, None if the task does not wait for it."""
        context["ti"].xcom_push(key=JOB_ID_KEY, value=attempt.job_id)
        context["ti"].xcom_push(key=JOB_PAGE_KEY, value=self.job_page)
        self._stay_unless_killed()
        if not self.wait_for_completion:
            tell_assets(context, self.outlets, self._facts)
            return None
        has_ended = attempt.found is not None and attempt.found.is_terminal
        if self.deferrable and not has_ended:
            self._defer(context, attempt.job_id, deadlines)
        return self._watch(hook, attempt.job_id, self._watch_options(deadlines))

    def _waits_again(self, outcome: Outcome) -> bool:
        again = waits_again(outcome, is_growing=self.cluster_ref.is_growing)
        if not again or outcome.info is None or outcome.waited_for is None:
            return False
        seconds = waited_for_seconds(outcome.info)
        self.log.warning(GAVE_UP, outcome.job_id, outcome.waited_for.text, seconds)
        return True

    def _watch(self, hook: RayJobHook, job_id: str, options: WatchOptions) -> Outcome:
        show = partial(show_lines, log=self.log)
        outcome = hook.watch(job_id, options=options, emit=show, logger=self.log)
        return replace(outcome, page=self.job_page)

    @fails_for_good_where_a_retry_is_in_vain
    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Turn the end of the job into the end of the task.

        :param event: The event of :class:`~airflow_synapse.triggers.ray_job.RayJobTrigger`.
        """
        outcome = outcome_of(event)
        if self._waits_again(outcome):
            return self._run_and_answer(context, outcome)
        self._submitted_id = outcome.job_id or None
        with self._interruptible(context):
            return self._complete(context, outcome)

    def _complete(self, context: Context, outcome: Outcome) -> Any:
        self._facts = JobFacts.of_outcome(outcome)
        error = outcome.error()
        if error is None:
            tell_assets(context, self.outlets, self._facts)
            return self.result_of(outcome)
        if self._facts is not None and self._facts.page is not None:
            self.log.info("The job's page in the Ray dashboard: %s", self._facts.page)
        if isinstance(error, RayJobStoppedError):
            self._stay_unless_killed()
            raise AirflowFailException(str(error)) from error
        if isinstance(error, RayJobEntrypointError):
            skip_if_wanted(error, self.skip_on_exit_code)
        if (
            not isinstance(error, (RayJobFailedError, RayJobTimeoutError))
            and self._facts is not None
        ):
            self._leave_to_next_try(context, self._facts.job_id, error)
        raise error

    def _after_timeout(self, context: Context, job_id: str | None, exc: BaseException) -> Any:
        """End a task that took longer than its ``execution_timeout``. If its job was done, it is a success."""
        error = self._timed_out(context["ti"], job_id)
        done = self._seen_done(job_id)
        if done is None:
            raise error from exc
        return self._complete(context, done)

    def result_of(self, outcome: Outcome) -> Any:
        """Return what the task returns for a job that succeeded."""
        return (outcome.document or {}).get("result")

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> Any:
        """Continue after the trigger. If the trigger broke, leave no job that nobody would watch."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralError, TaskDeferralTimeout) as exc:
            ti = context["ti"]
            job_id = ti.xcom_pull(task_ids=self.task_id, key=JOB_ID_KEY, map_indexes=ti.map_index)
            self._facts = JobFacts(job_id) if job_id is not None else None
            if isinstance(exc, TaskDeferralTimeout):
                return self._after_timeout(context, job_id, exc)
            self._leave_to_next_try(context, job_id, exc)
            raise

    def _submit(self, context: Context, hook: RayJobHook, after: Outcome | None) -> Attempt:
        """Submit the job of this try, or find the one to take over.

        :param after: How the job ended in whose place this one is to wait.
        """
        this_try = task_try(context, retries=self.retries or 0, deployment=settings.deployment())
        executor = hook.get_conn()
        self._submitted_by, self._ti = hook, context["ti"]
        prepared = self.prepare(
            executor,
            {
                **(to_texts(self.metadata) or {}),
                **this_try.metadata(),
                **wait_metadata(waits=self.wait_for_completion, stop_on_kill=self.stop_on_kill),
                **waited_metadata(after),
            },
        )
        cluster, given = executor.cluster.address, to_text(self.job_id)
        look_up = partial(
            choose_attempt,
            this_try,
            cluster=cluster,
            given=given,
            follows=after.job_id if after is not None else None,
            takes_over=self.reattach,
        )
        self._look_up = look_up
        find: Callable[[str], JobInfo | None] = executor.find_info
        if context["ti"].try_number == 1:
            find = before_anything_was_sent(find)
        with executor:
            attempt = look_up(
                find,
                list_jobs=executor.list_jobs,
                expected=Expectation(prepared.spec, lambda job: self._has_result(executor, job)),
            )
            if attempt.notice:
                self.log.warning(attempt.notice)
            if attempt.left_behind is not None and (self.stop_on_kill or attempt.is_outdated):
                self._stop_left_behind(executor, attempt.left_behind)
            if attempt.maybe_foreign is not None:
                self.log.warning(MAYBE_FOREIGN, attempt.maybe_foreign.job_id, cluster)
            self._stay_unless_killed()
            rank = this_try.try_number
            self._following = TRIES.follow(attempt.job_id, cluster=cluster, rank=rank)
            if attempt.found is not None:
                self._submitted_id = attempt.job_id
                self.log.info(
                    "Took over Ray job %s from an earlier try. It is %s.",
                    attempt.job_id,
                    attempt.found.status,
                )
                executor.metrics.count(SUBMISSIONS_ADOPTED)
            else:
                prepared = prepared.with_env_vars(context_vars(context, self))
                if self.openlineage_inject_parent_job_info:
                    prepared = with_parent_run(prepared, context["ti"], logger=self.log)
                self._send(executor, prepared, attempt.job_id)
                executor.metrics.count(SUBMISSIONS_NEW)
                self.log.info("Submitted Ray job %s to %s.", attempt.job_id, self.cluster_ref)
            self._clock_ahead = executor.clock_ahead()
        info = attempt.found or JobInfo(attempt.job_id, PENDING, metadata=prepared.spec.metadata)
        self.job_page = hook.job_page(attempt.job_id)
        self._facts = JobFacts.of(info, cluster=cluster, page=self.job_page)
        return attempt

    def _has_result(self, executor: RayJobExecutor, job: JobInfo) -> bool:  # noqa: ARG002  # for others
        """Whether a job that has SUCCEEDED left what the task needs of it."""
        return True

    def _send(self, executor: RayJobExecutor, prepared: PreparedJob, job_id: str) -> None:
        """Submit the job, and answer for it from the moment at which it may exist."""

        def answer_for_it() -> None:
            self._submitted_id = job_id

        try:
            executor.submit_prepared(prepared, job_id, on_sent=answer_for_it)
        except RayClusterUnreachableError:
            raise
        except AirflowSynapseError:  # the job was refused
            self._submitted_id = None
            raise
        answer_for_it()

    def _stop_left_behind(self, executor: RayJobExecutor, job: JobInfo) -> None:
        self.log.warning(
            "Ray job %s is still %s. It is from before the task was cleared, changed or tried again, so it is "
            "being stopped.",
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
            left = started + self.execution_timeout.total_seconds() - time.time()
            deadlines["execution_timeout"] = time.time() + self._clock_ahead + left
            timeout = timedelta(seconds=max(0.0, left) + _DEFERRAL_SLACK)
        self._stay_unless_killed()
        self.defer(
            trigger=RayJobTrigger(
                job_id,
                **self.cluster_ref.arguments(),
                **self._watch_paces(),
                stream_logs=self.stream_logs,
                stop_on_kill=self.stop_on_kill,
                fetch_result=self.do_xcom_push,
                deadlines=deadlines,
            ),
            method_name="execute_complete",
            timeout=timeout,
        )
