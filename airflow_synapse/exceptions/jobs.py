"""Errors about one job."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_synapse.exceptions.base import AirflowSynapseError
from airflow_synapse.exceptions.installer_output import take_apart
from airflow_synapse.plurals import counted

LAST_LINES = 20
"""How many of a job's last log lines an error carries."""


class ExecutionError(AirflowSynapseError):
    """Something about one job went wrong.

    :param reason: What happened, as a clause without a full stop.
    :param job_id: The job's submission ID, None if it never had one.
    :param cluster: The address of its cluster.
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
    """The job FAILED. The subclass says why."""

    default_hint = "See Ray's message and the job's log for details."

    def sentence(self) -> str:
        text = self.verdict()
        if self.last_lines and not self._is_in_message(self.last_lines):
            shown = counted(len(self.last_lines), "line")
            text += f"\nThe end of its log ({shown}):\n"
            text += "\n".join(f"    {line}" for line in self.last_lines)
        return text

    def heading(self) -> str:
        """Return which job FAILED, with Ray's error type and the exit code."""
        facts = [f"error type {self.error_type}" if self.error_type else ""]
        facts.append(f"exit code {self.exit_code}" if self.exit_code is not None else "")
        told = ", ".join(fact for fact in facts if fact)
        return f"{self.subject} FAILED" + (f" ({told})" if told else "")

    def verdict(self) -> str:
        """Return the sentence without the log, for readers who have already seen the log."""
        message = self.message_without_log()
        text = self.heading() + (f": {message}" if message else ".")
        return f"{text}\n{self.hint or self.default_hint}"

    def _is_in_message(self, lines: Sequence[str]) -> bool:
        """Whether Ray's message ends with these lines, because it stood in for a log that there is not."""
        end = self.message_without_log().splitlines()[-len(lines) :]
        return [line.strip() for line in end] == [line.strip() for line in lines]

    def message_without_log(self) -> str:
        """Return Ray's message without the end of the log that Ray copies into it.

        Ray appends up to 20,000 characters of log to the message of a failed entrypoint
        (``JobSupervisor.run``). ``last_lines`` already has them.
        """
        message = self.message or ""
        if self.last_lines:
            message = message.split(", last available logs (truncated", 1)[0]
        return message.strip()


class RayJobEntrypointError(RayJobFailedError):
    """The job's own code failed: its entrypoint exited with a nonzero code or could not be run at all."""

    default_hint = "The job's own code failed. Its log shows where."


class RayJobRuntimeEnvError(RayJobFailedError):
    """The job's runtime_env could not be set up, so its code never ran."""

    default_hint = (
        "Its runtime_env could not be set up. Check the requirements, and check that the cluster's "
        "nodes can reach the package index and have pip (a virtual environment made by uv has none)."
    )

    def verdict(self) -> str:
        """Return the sentence, with the installer's own error before Ray's traceback."""
        error, rest = take_apart(self.message_without_log())
        if not rest:
            return super().verdict()
        first, *others = error
        text = [f"{self.heading()}: {first}", *(f"    {line}" for line in others)]
        return "\n".join([*text, self.hint or self.default_hint, "Ray's message:", rest])


class RayJobNotScheduledError(RayJobFailedError):
    """No node could run the job, so its code never started."""

    default_hint = (
        "No node could run it. Compare the resources and labels it requests with `ray status`."
    )


class RayJobInfrastructureError(RayJobFailedError):
    """The job's supervisor, its node or the cluster's head node was lost.

    After a failover of the head node, Ray reports this even for jobs that kept running.
    """

    default_hint = (
        "The cluster lost the job's supervisor, its node or the head node. The job's code is not "
        "to blame, and another try may succeed."
    )


class RayJobStoppedError(ExecutionError):
    """Somebody or something else stopped the job."""

    def sentence(self) -> str:
        reason = self.reason or "was STOPPED by somebody or something else"
        hint = self.hint or "If that was a mistake, submit it again."
        return f"{self.subject} {reason}. {hint}"


class RayJobTimeoutError(ExecutionError):
    """A time limit ran out before the job reached the expected state."""


class RayJobNotFoundError(ExecutionError):
    """The cluster has no job with this submission ID."""

    def sentence(self) -> str:
        return (
            f"{self.subject} does not exist, or no longer does. {self.reason + '. ' if self.reason else ''}"
            f"{self.hint or 'A head node forgets its jobs when it restarts. Also check that the connection points to the right cluster.'}"
        )


class JobIdConflictError(ExecutionError):
    """Another job already has this submission ID."""

    def sentence(self) -> str:
        return (
            f"Another job on {self.cluster} already has the submission ID {self.job_id}: "
            f"{self.reason}. {self.hint or 'Nothing was started. Choose another job_id.'}"
        )


class RayJobSubmissionError(ExecutionError):
    """We refused the job before sending anything, or Ray refused it."""

    def sentence(self) -> str:
        where = f" to {self.cluster}" if self.cluster else ""
        job = f" {self.job_id!r}" if self.job_id is not None else ""
        text = f"The Ray job{job} was not submitted{where}: {self.reason}."
        return f"{text} {self.hint}" if self.hint else text


class RayLogNotFoundError(ExecutionError):
    """A job's log, result or report can't be found on the cluster."""

    @property
    def is_node_gone(self) -> bool:
        """Whether that is because the node that has it is gone, in Ray's words."""
        return any(words in self.reason for words in ("Agent for node id", "given node id"))
