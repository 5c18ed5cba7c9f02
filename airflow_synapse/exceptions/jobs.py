"""What went wrong with one job."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_synapse.exceptions.base import AirflowSynapseError

LAST_LINES = 20
"""How many of a job's last log lines an error carries."""


class ExecutionError(AirflowSynapseError):
    """Something about one job went wrong.

    :param reason: What happened, as a clause without a full stop.
    :param job_id: The job's submission id, None if it never had one.
    :param cluster: The dashboard URL of its cluster.
    :param status: Ray's status of the job, if known.
    :param error_type: Ray's ``error_type`` of the job, if it has one.
    :param exit_code: The exit code of the job's entrypoint, if it has one.
    :param message: Ray's own message about the job.
    :param last_lines: The last lines of the job's log.
    :param hint: What to do next, as a sentence.
    """

    def __init__(
        self,
        *,
        reason: str = "",
        job_id: str | None = None,
        cluster: str | None = None,
        status: str | None = None,
        error_type: str | None = None,
        exit_code: int | None = None,
        message: str | None = None,
        last_lines: Sequence[str] = (),
        hint: str = "",
    ) -> None:
        super().__init__(
            reason=reason,
            job_id=job_id,
            cluster=cluster,
            status=status,
            error_type=error_type,
            exit_code=exit_code,
            message=message,
            last_lines=tuple(last_lines)[-LAST_LINES:],
            hint=hint,
        )

    reason: str
    job_id: str | None
    cluster: str | None
    status: str | None
    error_type: str | None
    exit_code: int | None
    message: str | None
    last_lines: tuple[str, ...]
    hint: str

    @property
    def subject(self) -> str:
        """The job and its cluster, as they are named in a sentence."""
        job = f"Ray job {self.job_id}" if self.job_id else "The Ray job"
        return f"{job} on {self.cluster}" if self.cluster else job

    def sentence(self) -> str:
        parts = [f"{self.subject} {self.reason}.", self.hint]
        return " ".join(part for part in parts if part)


class RayJobFailedError(ExecutionError):
    """The job ended FAILED. The subclass tells whose fault it was."""

    default_hint = "Ray's message and the job's log tell more."

    def sentence(self) -> str:
        text = self.verdict()
        if self.last_lines:
            text += f"\nThe last {len(self.last_lines)} lines of its log:\n" + "\n".join(
                f"    {line}" for line in self.last_lines
            )
        return text

    def verdict(self) -> str:
        """Return the sentence less the log, for who has seen that."""
        facts = [f"error type {self.error_type}" if self.error_type else ""]
        facts.append(f"exit code {self.exit_code}" if self.exit_code is not None else "")
        told = ", ".join(fact for fact in facts if fact)
        text = f"{self.subject} FAILED" + (f" ({told})" if told else "")
        message = self.message_without_log()
        text += f": {message}" if message else "."
        return f"{text}\n{self.hint or self.default_hint}"

    def message_without_log(self) -> str:
        """Return Ray's message, less the copy of the log's end that Ray puts into it.

        Ray appends up to 20,000 characters of log to the message of a failed entrypoint
        (``JobSupervisor.run``); they are in ``last_lines`` already.
        """
        message = self.message or ""
        if self.last_lines:
            message = message.split(", last available logs (truncated", 1)[0]
        return message.strip()


class RayJobEntrypointError(RayJobFailedError):
    """The job's own code failed: its entrypoint ended with another exit code than 0, or is no command."""

    default_hint = "The job's own code failed; its log shows where."


class RayJobRuntimeEnvError(RayJobFailedError):
    """The job's runtime_env could not be set up, so its code never ran."""

    default_hint = (
        "Its runtime_env could not be set up: check the requirements, the package index that the "
        "cluster's nodes can reach, and that they have pip (a Python made by uv has none)."
    )


class RayJobNotScheduledError(RayJobFailedError):
    """No node took the job, so its code never ran."""

    default_hint = (
        "No node could take it: compare the resources and labels it asks for with `ray status`."
    )


class RayJobInfrastructureError(RayJobFailedError):
    """The job's supervisor, its node or the cluster's head was lost.

    After a head node failed over, Ray gives this verdict also for jobs that went on running.
    """

    default_hint = (
        "The cluster lost the job's supervisor, node or head: this is not a fault of the job's "
        "code, and another try may succeed."
    )


class RayJobStoppedError(ExecutionError):
    """Somebody stopped the job."""

    def sentence(self) -> str:
        reason = self.reason or "was STOPPED by somebody or something other than this caller"
        hint = self.hint or "Submit it again if that was not intended."
        return f"{self.subject} {reason}. {hint}"


class RayJobTimeoutError(ExecutionError):
    """A limit of ours ran out before the job came to where it had to be."""


class RayJobNotFoundError(ExecutionError):
    """The cluster has no job of this id."""

    def sentence(self) -> str:
        return (
            f"{self.subject} does not exist (any more). {self.reason + '. ' if self.reason else ''}"
            f"{self.hint or 'A restarted head node forgets its jobs; also check that the connection names the right cluster.'}"
        )


class JobIdConflictError(ExecutionError):
    """The id is taken by a job that is not the one asked for."""

    def sentence(self) -> str:
        return (
            f"The submission id {self.job_id} is already used on {self.cluster} by another job: "
            f"{self.reason}. {self.hint or 'Nothing was started. Choose another job_id.'}"
        )


class RayJobSubmissionError(ExecutionError):
    """The job was refused, before anything was sent or by Ray."""

    def sentence(self) -> str:
        where = f" on {self.cluster}" if self.cluster else ""
        job = f" {self.job_id!r}" if self.job_id is not None else ""
        text = f"The Ray job{job} was not submitted{where}: {self.reason}."
        return f"{text} {self.hint}" if self.hint else text


class RayLogNotFoundError(ExecutionError):
    """A file that the job wrote, its log or its result, can't be found on the cluster."""
