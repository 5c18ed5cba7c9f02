"""Every error of the package, in one tree. Imports neither Airflow nor Ray.

::

    AirflowSynapseError
    ├── ExecutionError                      something about one job
    │   ├── RayJobFailedError               the job ended FAILED
    │   │   ├── RayJobEntrypointError       user code: the entrypoint's exit code was not 0
    │   │   ├── RayJobRuntimeEnvError       its runtime_env could not be set up
    │   │   ├── RayJobNotScheduledError     no node ever took it
    │   │   └── RayJobInfrastructureError   its supervisor, node or head was lost
    │   ├── RayJobStoppedError              somebody stopped it
    │   ├── RayJobTimeoutError              a limit of ours ran out
    │   ├── RayJobNotFoundError             the cluster does not know it (any more)
    │   ├── JobIdConflictError              its id belongs to another job
    │   ├── RayJobSubmissionError           it was refused, by us or by Ray
    │   └── RayLogNotFoundError             a file of it, its log or its result, is gone
    ├── RayClusterUnreachableError          no usable answer from the cluster
    ├── RayAuthenticationError              the cluster answered 401 or 403
    ├── RayAddressError                     the cluster's address or TLS settings can't be used
    ├── PluginManifestError                 a plugin folder's config.yaml, files or size
    │   └── PluginRequirementsError         a line of its requirements
    ├── FunctionSourceError                 a Python function that can't be sent to a cluster
    ├── ActionNotFoundError                 the manifest has no such action
    └── ActionParamsError                   params that JSON or the action's schema refuse
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LAST_LINES = 20
"""How many of a job's last log lines an error carries."""


class AirflowSynapseError(Exception):
    """Base of every error this package raises.

    Each class takes facts as keyword arguments and writes its own sentence. The facts stay
    readable as attributes, and the error survives pickling.
    """

    def __init__(self, **facts: Any) -> None:
        super().__init__()
        self._facts = facts
        for name, value in facts.items():
            setattr(self, name, value)

    def __str__(self) -> str:
        return self.sentence()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._facts)

    def sentence(self) -> str:
        """Return what happened, on what, and what to do."""
        raise NotImplementedError


def _rebuild(cls: type[AirflowSynapseError], facts: dict[str, Any]) -> AirflowSynapseError:
    return cls(**facts)


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


class RayClusterUnreachableError(AirflowSynapseError):
    """The cluster's dashboard gave no usable answer. Another try may succeed.

    :param cluster: The dashboard URL.
    :param reason: What happened, as a clause.
    :param job_id: The job it was about, if any; it may well be running.
    :param hint: What to check.
    :param retry_after: Seconds to wait before the next try, if the server asked for it.
    """

    def __init__(
        self,
        *,
        cluster: str,
        reason: str,
        job_id: str | None = None,
        hint: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            cluster=cluster, reason=reason, job_id=job_id, hint=hint, retry_after=retry_after
        )

    cluster: str
    reason: str
    job_id: str | None
    hint: str
    retry_after: float | None

    def sentence(self) -> str:
        about = f" Job {self.job_id} may still be running there." if self.job_id else ""
        hint = self.hint or (
            "Check that the head node is up and that this machine reaches its dashboard port."
        )
        return f"The Ray cluster at {self.cluster} is unreachable: {self.reason}.{about} {hint}"


class RayAuthenticationError(AirflowSynapseError):
    """The cluster refused who we are (401) or what we may do (403).

    :param cluster: The dashboard URL.
    :param http_status: 401 or 403.
    """

    def __init__(self, *, cluster: str, http_status: int) -> None:
        super().__init__(cluster=cluster, http_status=http_status)

    cluster: str
    http_status: int

    @property
    def reason(self) -> str:
        """What happened, as a clause."""
        return f"it answered {self.http_status}"

    def sentence(self) -> str:
        if self.http_status == 401:
            why = "no valid credentials came with the request (401)"
            todo = "Set the connection's password to the cluster's token, or its headers or cookies to what your proxy asks for."
        else:
            why = "the credentials were understood but refused (403)"
            todo = "The token is wrong or has expired, or it lacks the right to use the Jobs API."
        return f"The Ray cluster at {self.cluster} refused the request: {why}. {todo}"


class RayAddressError(AirflowSynapseError):
    """The cluster's address, or a setting of how to reach it, can't be used.

    :param address: What was given, without credentials.
    :param reason: What is wrong with it, as a clause.
    :param hint: What to do, by default to give another address.
    """

    def __init__(self, *, address: str, reason: str, hint: str = "") -> None:
        hint = hint or "Give something like http://head-node:8265."
        super().__init__(address=address, reason=reason, hint=hint)

    address: str
    reason: str
    hint: str

    def sentence(self) -> str:
        return (
            f"{self.address!r} can't be used as the address of a Ray dashboard: {self.reason}. "
            f"{self.hint}"
        )


class PluginManifestError(AirflowSynapseError):
    """A plugin folder can't be used as it is.

    :param path: The file or folder.
    :param reason: What is wrong with it, naming key and value where there are such.
    :param hint: What to do next, as a sentence.
    """

    def __init__(self, *, path: str, reason: str, hint: str = "") -> None:
        super().__init__(path=path, reason=reason, hint=hint)

    path: str
    reason: str
    hint: str

    def sentence(self) -> str:
        text = f"{self.path}: {self.reason}."
        return f"{text} {self.hint}" if self.hint else text


class PluginRequirementsError(PluginManifestError):
    """A line of a plugin's requirements can't be used."""


class FunctionSourceError(AirflowSynapseError):
    """A Python function can't be sent to a cluster.

    :param function: Its name.
    :param reason: Why not, as a clause about it.
    """

    def __init__(self, *, function: str, reason: str) -> None:
        super().__init__(function=function, reason=reason)

    function: str
    reason: str

    def sentence(self) -> str:
        return (
            f"The function {self.function!r} {self.reason}. Only its own source is sent: import what it "
            "needs inside of it, give it values as arguments, or put the code into a plugin."
        )


class ActionNotFoundError(AirflowSynapseError):
    """The manifest has no action of this name.

    :param action_name: The name asked for.
    :param plugin: The plugin's name or folder.
    :param known: The names there are.
    """

    def __init__(self, *, action_name: str, plugin: str, known: Iterable[str]) -> None:
        super().__init__(action_name=action_name, plugin=plugin, known=tuple(sorted(known)))

    action_name: str
    plugin: str
    known: tuple[str, ...]

    def sentence(self) -> str:
        known = ", ".join(self.known) if self.known else "none"
        return (
            f"Plugin {self.plugin} has no action {self.action_name!r}. It has: {known}. An "
            "entrypoint may be given instead, written package.module:attribute."
        )


class ActionParamsError(AirflowSynapseError):
    """An action's params can't be sent or break its schema.

    :param problems: What is wrong, by path, e.g. ``{"params.optim.lr": "is not a number"}``.
    :param action_name: The action they were meant for.
    """

    def __init__(self, *, problems: Mapping[str, str], action_name: str | None = None) -> None:
        super().__init__(problems=dict(problems), action_name=action_name)

    problems: dict[str, str]
    action_name: str | None

    def sentence(self) -> str:
        action = f" of action {self.action_name!r}" if self.action_name else ""
        told = "; ".join(f"{path} {problem}" for path, problem in self.problems.items())
        return f"The params{action} can't be used: {told}."
