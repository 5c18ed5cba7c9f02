"""Turns the end of a job, or a job that took too long, into an error. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_synapse.exceptions import (
    ExecutionError,
    RayClusterUnreachableError,
    RayJobEntrypointError,
    RayJobFailedError,
    RayJobInfrastructureError,
    RayJobNotScheduledError,
    RayJobRuntimeEnvError,
    RayJobStoppedError,
    RayJobTimeoutError,
)
from airflow_synapse.rayjobs.job import start_limit
from airflow_synapse.rayjobs.models import FAILED, PENDING, STOPPED, JobInfo
from airflow_synapse.rayjobs.waiting.reasons import Reason

_START_ERROR = "JOB_ENTRYPOINT_COMMAND_START_ERROR"

CAUSES: dict[str, type[RayJobFailedError]] = {
    "JOB_ENTRYPOINT_COMMAND_ERROR": RayJobEntrypointError,
    "RUNTIME_ENV_SETUP_FAILURE": RayJobRuntimeEnvError,
    "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE": RayJobNotScheduledError,
    "JOB_SUPERVISOR_ACTOR_START_TIMEOUT": RayJobNotScheduledError,
    "JOB_SUPERVISOR_ACTOR_START_FAILURE": RayJobInfrastructureError,
    "JOB_SUPERVISOR_ACTOR_DIED": RayJobInfrastructureError,
    "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE": RayJobInfrastructureError,
    _START_ERROR: RayJobInfrastructureError,
}
"""Our error for each of Ray's ``JobErrorType``, by what is to blame."""

_KILLED = {-9, 137}

_TOO_LONG = "Argument list too long"
_TOO_LONG_HINT = (
    "Its command or its environment is longer than Linux allows (128 KiB). Put large values into a file "
    "in working_dir or, if it runs an action, into action_params."
)


def error_of(
    info: JobInfo,
    *,
    cluster: str,
    last_lines: Sequence[str] = (),
    waited_for: Reason | None = None,
) -> ExecutionError | None:
    """Return the error for how the job ended, None if it succeeded or still runs.

    :param info: The job as it ended.
    :param cluster: The cluster's address, for the sentence.
    :param last_lines: The last lines of its log.
    :param waited_for: Why it waited to be started when it was last seen waiting.
    """
    if info.status == FAILED:
        kind: type[ExecutionError] = CAUSES.get(info.error_type or "", RayJobFailedError)
        hint = start_limit.hint_of(info, waited_for)
        if info.error_type == _START_ERROR and _TOO_LONG in (info.message or ""):
            kind, hint = RayJobEntrypointError, _TOO_LONG_HINT
        if info.driver_exit_code in _KILLED:
            hint = (
                "Its process was killed with SIGKILL, often because the node ran out of memory. Reserve "
                "more with `memory`, or check the node's kernel log."
            )
    elif info.status == STOPPED:
        kind, hint = RayJobStoppedError, ""
    else:
        return None
    return kind(
        job_id=info.job_id,
        cluster=cluster,
        status=info.status,
        error_type=info.error_type,
        exit_code=info.driver_exit_code,
        message=info.message,
        last_lines=last_lines,
        hint=hint,
    )


def not_ended(
    job_id: str,
    cause: RayClusterUnreachableError | RayJobTimeoutError,
    *,
    seconds: float,
    cluster: str,
) -> RayJobTimeoutError:
    """Return the error for a wait during which the job did not end.

    :param cause: What ended the wait: the cluster was unreachable, or time ran out.
    :param seconds: How long the wait was meant to last.
    """
    reason = f"did not end within {seconds:g} s"
    outage = cause if isinstance(cause, RayClusterUnreachableError) else cause.__cause__
    if isinstance(outage, RayClusterUnreachableError):
        reason = f"could not be watched for {seconds:g} s: {outage.reason}"
    return RayJobTimeoutError(
        job_id=job_id,
        cluster=cluster,
        status=getattr(cause, "status", None),
        reason=reason,
        hint="The job was not stopped.",
    )


def still_running(error: RayJobTimeoutError, *, stop_command: str) -> RayJobTimeoutError:
    """Return the error for a job that took too long and then could not be stopped.

    :param stop_command: The command with which a person stops it.
    """
    left = "It could not be stopped, so it may still be running"
    hint = f"Stop it with `{stop_command}`. {error.hint}"
    if error.status == PENDING:  # a stop waits as the job does
        left = "It could not be stopped, because Ray stops a job only once it is scheduled"
        hint = (
            f"Until then it stays in the list of jobs, and it may start for a moment. {error.hint}"
        )
    return RayJobTimeoutError(
        job_id=error.job_id,
        cluster=error.cluster,
        status=error.status,
        reason=f"{error.reason}. {left}",
        hint=hint,
        last_lines=error.last_lines,
    )
