"""An operator that answers for its job: whatever ends the task first, somebody follows the job or it is stopped."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_synapse.exceptions import (
    AirflowSynapseError,
    ExecutionError,
    RayClusterGoneError,
    RayClusterUnreachableError,
    RayJobNotFoundError,
    RayJobTimeoutError,
)
from airflow_synapse.handover.followers import TRIES, Following
from airflow_synapse.operators.ending import airflow_word
from airflow_synapse.operators.ending.kill import Fate, fate_after_kill
from airflow_synapse.operators.ending.next_try import will_be_retried
from airflow_synapse.operators.job_arguments import RayJobArguments
from airflow_synapse.rayjobs.crossing import Interruption
from airflow_synapse.rayjobs.job.failures import still_running
from airflow_synapse.rayjobs.job.outcome import Outcome
from airflow_synapse.rayjobs.models import SUCCEEDED
from airflow_synapse.version_compat import AirflowTaskTimeout

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_synapse.hooks.ray_job import RayJobHook
    from airflow_synapse.operators.attempts import Attempt
    from airflow_synapse.rayjobs.models import JobInfo


class AnswerableOperator(RayJobArguments):
    """What an operator does about its job when a kill, a timeout or an error ends the task before the job.

    Whoever submits or takes over a job sets ``_submitted_id``, ``_submitted_by``, ``_ti``
    and ``_look_up``.
    """

    _submitted_id: str | None = None
    """The job that may exist and that this try answers for."""
    _submitted_by: RayJobHook | None = None
    _ti: Any = None
    _following: Following | None = None
    _look_up: Callable[[Callable[[str], JobInfo | None]], Attempt] | None = None
    """Finds the job of an earlier try, until this try has found it."""
    _interruption: Interruption | None = None
    """What ends the calls to the cluster, while there are any."""
    _is_killed = False

    def on_kill(self) -> None:
        """End what this process is doing. It then finds out whether somebody wants the job to stop.

        Airflow calls this in a signal handler, which may have interrupted anything. So this asks nobody and
        waits for nothing, unless nothing else will: after Airflow's own timeout, or outside Airflow.
        """
        self._is_killed = True
        if self._interruption is not None:
            self._interruption.come()
        elif self._submitted_id is not None and self.stop_on_kill:
            is_timeout = isinstance(sys.exc_info()[1], AirflowTaskTimeout)
            if is_timeout or not airflow_word.is_there():
                self._stop(self._ti, self._submitted_id)

    def _killed(self, context: Context) -> ExecutionError:
        """Stop the job if nobody wants it any more, and return the error with which this try ends."""
        self.retry_policy = None  # no policy can know that the try did not end by itself
        job_id = self._submitted_id or self._earlier_job()
        if job_id is None:
            return ExecutionError(reason="was never submitted, because the task was killed")
        cluster = self._stopping_hook().connection.cluster.address
        fate = Fate.OTHER_TRY
        if not TRIES.has_later(job_id, cluster=cluster, rank=context["ti"].try_number):
            fate = fate_after_kill(context["ti"], takes_over=self.reattach)
        self._submitted_id = None
        self.log.warning(fate.sentence, job_id)
        reason = "was left alone when the task was killed"
        if fate.stops and self.stop_on_kill:
            is_stopped = self._stopping_hook().stop_and_tell(job_id, logger=self.log)
            reason = "was stopped" if is_stopped else "may still be running"
            reason = f"{reason}, because the task was killed"
        return ExecutionError(job_id=job_id, cluster=cluster, reason=reason)

    @contextmanager
    def _interruptible(self, context: Context) -> Iterator[None]:
        """Let :meth:`on_kill` end the calls in here. Then decide what becomes of the job."""
        self._interruption = Interruption()
        if self._is_killed:
            self._interruption.come()
        try:
            yield
        except CancelledError as exc:
            if not self._is_killed:
                raise
            raise self._killed(context) from exc
        finally:
            self._interruption = None

    def _stay_unless_killed(self) -> None:
        """Do what a call to the cluster does when it is interrupted."""
        if self._is_killed:
            raise CancelledError

    def _hook(self, **executor_options: Any) -> RayJobHook:
        hook = super()._hook(**executor_options)
        hook.interruption = self._interruption
        return hook

    def _timed_out(self, ti: Any, job_id: str | None) -> RayJobTimeoutError:
        """Stop the job of a task that took longer than its ``execution_timeout``, and return the error."""
        hint = "If the job needs more time, raise execution_timeout."
        job_id = job_id or self._earlier_job()
        if job_id is None:
            reason = "was not submitted within the task's execution_timeout"
            return RayJobTimeoutError(reason=reason, hint=hint)
        cluster = self._stopping_hook().connection.cluster
        error = RayJobTimeoutError(
            job_id=job_id,
            cluster=cluster.address,
            reason="did not end within the task's execution_timeout",
            hint=hint,
        )
        if self._stop(ti, job_id) is not False:
            return error
        return still_running(error, stop_command=cluster.how_to_stop(job_id))

    def _seen_done(self, job_id: str | None) -> Outcome | None:
        """Return how a job ended that SUCCEEDED before it could be stopped, None if it did not."""
        from airflow_synapse.rayjobs.executor import RayJobExecutor

        if job_id is None:
            return None
        connection = self._stopping_hook().connection
        try:  # once: the task has no time left to wait for a cluster
            info = RayJobExecutor.of_cluster(connection.cluster).find_info(job_id)
        except AirflowSynapseError:
            return None
        if info is None or info.status != SUCCEEDED:
            return None
        self.log.info(
            "Ray job %s SUCCEEDED in time. The rest of its log is not shown here.", job_id
        )
        page = connection.job_page(job_id)
        return Outcome(job_id, connection.cluster.address, info, page=page)

    def _stop(self, ti: Any, job_id: str | None) -> bool | None:
        """Stop the job, unless a later try has it.

        :return: Whether it has certainly ended. None if it was left to a later try, or does not exist.
        """
        self._submitted_id = None  # from here on, a kill need not decide about the job
        if job_id is None:
            return None
        hook = self._stopping_hook()
        cluster = hook.connection.cluster.address
        has_later = TRIES.has_later(job_id, cluster=cluster, rank=ti.try_number)
        if has_later or airflow_word.is_superseded(ti):
            self.log.warning(Fate.OTHER_TRY.sentence, job_id)
            return None
        return hook.stop_and_tell(job_id, logger=self.log)

    def _earlier_job(self) -> str | None:
        """Return the job of an earlier try, if this one was interrupted while it looked for it.

        An outage is not waited for, because then the job could not be stopped either.
        """
        if self._look_up is None or self._ti.try_number < 2:
            return None
        executor = self._stopping_hook().get_conn()
        executor.unreachable_timeout = 0.0
        try:
            attempt = self._look_up(executor.find_info)
        except AirflowSynapseError as exc:
            self.log.debug("The job of an earlier try could not be looked up: %s", exc)
            return None
        job = attempt.found or attempt.left_behind
        return job.job_id if job is not None and not job.is_terminal else None

    def _stopping_hook(self) -> RayJobHook:
        """Return a hook that nothing interrupts. It has its connection already, if the job was submitted here."""
        hook = self._submitted_by or self._hook()
        hook.interruption = None
        return hook

    def _leave_to_next_try(self, context: Context, job_id: str | None, error: Exception) -> None:
        """Leave a job that nobody watches any more to the next try, or stop it if there is no next try.

        If the cluster was unreachable until now, this does not wait for it again.
        """
        if job_id is None or isinstance(error, (RayJobNotFoundError, RayClusterGoneError)):
            return
        is_unreachable = isinstance(error, RayClusterUnreachableError)
        if self.reattach and will_be_retried(self, context, error):
            self._submitted_id = None
            runs = "may be running. If it is, the" if is_unreachable else "keeps running. The"
            self.log.warning("Ray job %s %s next try will take it over.", job_id, runs)
        elif is_unreachable:
            self._submitted_id = None
            self.log.error(
                "Ray job %s may still be running, and no try will take it over. If it is, stop it with `%s`.",
                job_id,
                self.cluster_ref.how_to_stop(job_id),
            )
        else:
            self._stop(context["ti"], job_id)
