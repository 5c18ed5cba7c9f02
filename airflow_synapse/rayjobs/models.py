"""The values of Ray's Jobs API as frozen dataclasses, and what its statuses mean."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from airflow_synapse.masking import without_secrets

PENDING = "PENDING"
RUNNING = "RUNNING"
SUCCEEDED = "SUCCEEDED"
FAILED = "FAILED"
STOPPED = "STOPPED"

TERMINAL_STATUSES = frozenset({SUCCEEDED, FAILED, STOPPED})
"""The statuses that a job never leaves."""

STATUSES = TERMINAL_STATUSES | {PENDING, RUNNING}


SPEC_KEY = "airflow_synapse_spec"
"""Metadata: the fingerprint of what the job runs."""

PARTS_KEY = "airflow_synapse_parts"
"""Metadata: a hash of each part of what the job runs, so that a later try can say what differs."""

SUBMITTED_KEY = "airflow_synapse_submitted"
"""Metadata: when the job was submitted, in seconds since the epoch, by the clock of the cluster's answers."""

OWNER_KEY = "airflow_synapse_owner"
"""Metadata: for whom the job was submitted, if the same caller may submit again."""

ACTION_KEY = "airflow_synapse_action"
"""Metadata: the plugin action that the job runs. Such a job leaves a result."""

WAITING_SINCE_KEY = "airflow_synapse_waiting_since"
"""Metadata: when the first of the jobs was submitted that waited in each other's place, in milliseconds."""

CUT_OFF_KEY = "airflow_synapse_cut_off"
"""Metadata: that the job is in place of one whose installation Ray's start limit cut off."""

RESULT_KEY = "airflow_synapse_result"
"""Metadata: a copy of the file with a small result, from a job whose driver did not run on the head."""

COPIES_KEY = "airflow_synapse_copies_on"
"""Metadata: the head, by its node ID, if it has copies of files that the job left on another node."""

PLUGIN_KEY = "airflow_synapse_plugin"
"""Metadata: the name and version of the job's plugin."""


DEFAULT_TOKEN_HEADER = "Authorization"  # noqa: S105  # the name of a header


class CredentialSource(Protocol):
    """Where a cluster's credentials come from, so that they can be read again.

    Sources are equal if they give the same credentials.
    """

    newest: RayCluster | None
    """What was read last, None before the first time."""

    def read(self, cluster: RayCluster) -> Awaitable[RayCluster]:
        """Return the cluster with the credentials of this moment. It may raise anything."""


@dataclass(frozen=True)
class KubernetesPlace:
    """A Ray cluster of KubeRay, to which the way leads through the API server of its Kubernetes cluster.

    :param api_server: The API server's URL.
    :param namespace: The namespace of the RayCluster.
    :param name: Its name.
    """

    api_server: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def url(self) -> str:
        """The URL of everything in its namespace that belongs to Kubernetes itself."""
        return f"{self.api_server}/api/v1/namespaces/{self.namespace}"


@dataclass(frozen=True)
class RayCluster:
    """The address of a cluster's Jobs API, and the credentials for it. Its repr shows no secrets.

    Equal clusters have the same hash.

    :param address: Where requests go, e.g. ``http://127.0.0.1:8265`` or ``https://host/prefix``.
    :param token: The bearer token, if the cluster requires one.
    :param headers: Additional request headers.
    :param cookies: Request cookies.
    :param verify: Whether to verify the server's certificate, or the path of a CA bundle.
    :param request_timeout: Seconds that one whole call may take.
    :param client_cert: The path of a PEM file with the client certificate, for servers that require one,
        and with its key unless that has its own file.
    :param client_key: The path of the key's PEM file. The key must have no passphrase.
    :param token_file: The path of a file with the token, which is used instead of ``token``.
    :param token_header: The header that carries the token.
    :param source: Where the credentials come from, if they can be read again.
    :param stop_command: The command with which a person stops a job there. ``{job_id}`` and ``{address}``
        stand for what they say.
    :param place: Where in Kubernetes it is, if requests go through an API server.
    """

    address: str
    token: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify: bool | str = True
    request_timeout: float = 30.0
    client_cert: str | None = None
    client_key: str | None = None
    token_file: str | None = None
    token_header: str = DEFAULT_TOKEN_HEADER
    source: CredentialSource | None = field(default=None, repr=False)
    stop_command: str = field(default="ray job stop {job_id} --address {address}", compare=False)
    place: KubernetesPlace | None = None

    def __repr__(self) -> str:
        return f"RayCluster({without_secrets(self.address)!r})"

    def __hash__(self) -> int:
        return hash(self.address)  # the mappings have no hash

    @property
    def has_token(self) -> bool:
        """Whether requests carry a token, as far as is known before the first one."""
        newest = self.source.newest if self.source is not None else self
        return newest is None or bool(newest.token or newest.token_file)

    @property
    def key(self) -> RayCluster:
        """What is equal for all who may share a session: the cluster, without credentials that may change."""
        if self.source is None:
            return self
        return replace(
            self,
            token=None,
            headers={},
            cookies={},
            client_cert=None,
            client_key=None,
            token_file=None,
        )

    def how_to_stop(self, job_id: str) -> str:
        """Return the command with which a person stops a job there."""
        command = self.stop_command.replace("{address}", self.address)
        return command.replace("{job_id}", job_id)


@dataclass(frozen=True)
class JobSpec:
    """What a job is to run: everything that is sent, except its submission ID.

    :param entrypoint: The shell command.
    :param runtime_env: Ray's runtime_env. It contains no paths of this machine, only URIs.
    :param metadata: Strings that are stored with the job and shown in the dashboard.
    :param resources: Ray's ``entrypoint_*`` arguments.
    :param call: What the action runtime is to call, if the job runs an action or a function: its parts,
        each with a text that is different for another call.
    :param own_packages: The URIs among ``py_modules`` that carry the call and the action runtime.
    """

    entrypoint: str
    runtime_env: Mapping[str, Any] = field(default_factory=dict, repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    call: Mapping[str, str] = field(default_factory=dict, repr=False)
    own_packages: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """A hash of what is to run. It leaves out the metadata, which only describes a job."""
        what = [self.entrypoint, self.runtime_env, self.resources]
        text = json.dumps(what, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def parts(self) -> dict[str, str]:
        """A hash of each part of what is to run, by a name that users know.

        Leaves out what is new for each try, and the action runtime, which changes with our version.
        """
        rest = dict(self.runtime_env)
        env_vars = rest.pop("env_vars", None) or {}
        modules = [
            uri for uri in rest.pop("py_modules", None) or () if uri not in self.own_packages
        ]
        what = {
            **(self.call or {"entrypoint": self.entrypoint}),
            "code": [rest.pop("working_dir", None), modules],
            "env": {
                name: value for name, value in env_vars.items() if not name.startswith(_OF_THE_TRY)
            },
            "runtime_env": rest,
            "resources": self.resources,
        }
        return {name: _digest(part) for name, part in what.items()}

    def differences(self, job: JobInfo) -> tuple[str, ...]:
        """Return the names of the parts in which ``job`` runs something else. None are known of old jobs."""
        try:
            kept = json.loads(job.metadata[PARTS_KEY])
        except (KeyError, ValueError):
            kept = None
        if not isinstance(kept, dict):  # an older version of this package submitted it
            return () if self.call or job.entrypoint == self.entrypoint else ("entrypoint",)
        parts = self.parts
        return tuple(name for name in {**parts, **kept} if parts.get(name) != kept.get(name))

    def is_run_by(self, job: JobInfo) -> bool:
        """Whether ``job`` has the same owner as this spec or, if this has none, the same fingerprint."""
        owner = self.metadata.get(OWNER_KEY)
        if owner is not None:
            return job.metadata.get(OWNER_KEY) == owner
        return job.metadata.get(SPEC_KEY) == self.fingerprint


def _digest(part: Any) -> str:
    text = json.dumps(part, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


_OF_THE_TRY = ("AIRFLOW_CTX_", "AIRFLOW_SYNAPSE_", "OPENLINEAGE_")
"""How environment variables begin that tell a job which try submitted it."""


@dataclass(frozen=True)
class JobInfo:
    """What the cluster says about one job.

    :param job_id: The submission ID.
    :param status: One of Ray's statuses.
    :param message: Ray's sentence about the status.
    :param error_type: Why the job FAILED, in Ray's terms.
    :param driver_exit_code: The exit code of the entrypoint, once it has ended.
    :param start_time: When the job was submitted, in milliseconds since the epoch.
    :param end_time: When it ended, in milliseconds since the epoch.
    :param entrypoint: Its shell command.
    :param metadata: The strings that it was submitted with.
    :param driver_node_id: The node that runs its entrypoint, once it runs.
    :param driver_agent_http_address: The agent on that node, which serves the node's log files.
    """

    job_id: str
    status: str
    message: str | None = None
    error_type: str | None = None
    driver_exit_code: int | None = None
    start_time: int | None = None
    end_time: int | None = None
    entrypoint: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    driver_node_id: str | None = None
    driver_agent_http_address: str | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self.status in TERMINAL_STATUSES

    @property
    def submitted_at(self) -> float | None:
        """When it was submitted, in seconds since the epoch, by the clock of the cluster's answers.

        ``start_time`` is by the head's own clock, which a proxy may not share, so it is only the second best.
        """
        with suppress(KeyError, ValueError):
            told = float(self.metadata[SUBMITTED_KEY])
            if abs(told) < _LARGEST_NUMBER:
                return told
        return self.start_time / 1000 if self.start_time else None

    @property
    def duration(self) -> float | None:
        """Seconds from its submission to its end, None before its end."""
        if self.start_time is None or not self.end_time:
            return None
        return max(0, self.end_time - self.start_time) / 1000

    @property
    def is_phantom(self) -> bool:
        """Whether this is only what Ray recorded of a job that was deleted right after its end."""
        return self.entrypoint == "Entrypoint not found." and not self.metadata

    @classmethod
    def from_api(cls, details: Mapping[str, Any]) -> JobInfo:
        """Return the job that an answer of ``GET /api/jobs/{id}`` describes.

        :raises ValueError: if the answer describes no job.
        """
        if not isinstance(details, Mapping):
            raise TypeError("an answer that is not about a job")
        status = details.get("status")
        if not isinstance(status, str) or status not in STATUSES:
            raise ValueError(f"an answer with an unknown job status: {status!r:.100}")
        metadata = details.get("metadata")
        return cls(
            job_id=str(details.get("submission_id") or details.get("job_id") or ""),
            status=status,
            message=_message(details.get("message")),
            error_type=text_or_none(details.get("error_type")),
            driver_exit_code=integer_or_none(details.get("driver_exit_code")),
            start_time=integer_or_none(details.get("start_time")),
            end_time=integer_or_none(details.get("end_time")),
            entrypoint=text_or_none(details.get("entrypoint")) or "",
            metadata={str(key): str(value) for key, value in metadata.items()}
            if isinstance(metadata, dict)
            else {},
            driver_node_id=text_or_none(details.get("driver_node_id")),
            driver_agent_http_address=text_or_none(details.get("driver_agent_http_address")),
        )


def _message(value: Any) -> str | None:
    """Return Ray's message. It may quote the command of an installer, with the credentials of an index."""
    text = text_or_none(value)
    return None if text is None else without_secrets(text)


def text_or_none(value: Any) -> str | None:
    """Return what another program wrote as text; nothing stays ``None``."""
    return None if value is None else str(value)


def integer_or_none(value: Any) -> int | None:
    """Return a time or an exit code that another program wrote, or ``None`` for what cannot be one."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return int(value) if is_number and abs(value) < _LARGEST_NUMBER else None


_LARGEST_NUMBER = 2**53
"""Beyond that no time and no exit code makes sense; what is no number is not below it either."""
