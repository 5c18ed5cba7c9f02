"""Plugin actions and shell commands as Ray jobs, from ordinary synchronous code."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow_synapse.durations import to_seconds
from airflow_synapse.exceptions import (
    AirflowSynapseError,
    RayAuthenticationError,
    RayClusterUnreachableError,
)
from airflow_synapse.plugin.function import FunctionSource
from airflow_synapse.plugin.manifest import DEFAULT_WHEELS_DIR
from airflow_synapse.rayjobs.base_executor import BaseRayExecutor
from airflow_synapse.rayjobs.client.addresses import check_new_job_id
from airflow_synapse.rayjobs.client.credentials.tokens import AskedToken, TokenCallable
from airflow_synapse.rayjobs.client.jobs_api import JobsApi
from airflow_synapse.rayjobs.job import submission
from airflow_synapse.rayjobs.job.storage import storage_vars
from airflow_synapse.rayjobs.models import DEFAULT_TOKEN_HEADER, RayCluster
from airflow_synapse.rayjobs.packing.preparation import (
    JobRequest,
    PluginSource,
    PreparedJob,
    prepare_action,
    prepare_entrypoint,
    prepare_function,
)
from airflow_synapse.rayjobs.packing.resources import Resources
from airflow_synapse.rayjobs.reporting import UploadProgress

__all__ = ["BaseRayExecutor", "RayJobExecutor"]

log = logging.getLogger(__name__)


class RayJobExecutor(BaseRayExecutor):
    """Runs a plugin's actions, and shell commands, as Ray jobs.

    During an upload, :attr:`on_upload` is called on another thread with how far the upload is.

    :param dashboard_url: The cluster's address, e.g. ``http://127.0.0.1:8265`` or ``https://host/prefix``.
    :param working_dir: The plugin's folder, or a ``.zip`` URI that the cluster can read. If it is a URI,
        no manifest is read, so actions are given as entrypoints.
    :param requirements_file: The requirements file, instead of the folder's ``requirements.txt``.
    :param package_manager: ``pip`` or ``uv``.
    :param package_manager_options: Options for the install, or fields of Ray's ``pip`` or ``uv``.
    :param wheels_dir: The folder of wheels inside ``working_dir``. The manifest overrides the default.
    :param env: Environment variables for the job. This process's own environment is never sent.
    :param runtime_env: Ray's runtime_env, merged with the generated one. Its values take precedence, and
        lists are extended.
    :param num_cpus: CPU cores to reserve for the entrypoint.
    :param num_gpus: GPUs to reserve for it.
    :param memory: Bytes of memory to reserve for it.
    :param resources: Custom resources to reserve for it.
    :param label_selector: Labels that the job's node must have.
    :param metadata: Strings to store with each job.
    :param storage_path: A folder that all nodes share, or a URI. Each job gets ``<storage_path>/<job_id>`` for
        checkpoints, and leaves copies of its result and report beside that. Nothing there is ever deleted.
    :param token: The bearer token, or a callable that returns it, which may be asynchronous. A callable is
        asked again when the cluster refuses the token, and when a JSON Web Token is about to expire.
    :param token_file: The path of a file with the token, instead of ``token``. It is read again when it has
        changed, and when the cluster refuses the token.
    :param token_header: The header that carries the token: ``Authorization``, ``X-Ray-Authorization`` or
        ``Proxy-Authorization``.
    :param headers: Additional request headers.
    :param cookies: Request cookies.
    :param verify: Whether to verify the server's certificate, or the path of a CA bundle.
    :param client_cert: The PEM file of the client certificate, and of its key unless that has its own file.
    :param client_key: The PEM file of the key, if it has its own file.
    :param request_timeout: How long one call may take: seconds, a timedelta or an ISO 8601 duration. For an
        upload or a log, this applies to each part.
    :param unreachable_timeout: How long to keep trying while the cluster gives no usable answer, in the same
        forms.
    :raises ValueError: if one of these can't be a duration.
    """

    def __init__(
        self,
        dashboard_url: str,
        *,
        # Plugin
        working_dir: str | Path | None = None,
        requirements_file: str | Path | None = None,
        package_manager: str | None = None,
        package_manager_options: Mapping[str, Any] | Sequence[str] | None = None,
        wheels_dir: str | None = DEFAULT_WHEELS_DIR,
        # Environment
        env: Mapping[str, str] | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        # Resources
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: int | None = None,
        resources: Mapping[str, float] | None = None,
        label_selector: Mapping[str, str] | None = None,
        # Job
        metadata: Mapping[str, str] | None = None,
        storage_path: str | Path | None = None,
        # Connection
        token: str | TokenCallable | None = None,
        token_file: str | Path | None = None,
        token_header: str = DEFAULT_TOKEN_HEADER,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        verify: bool | str = True,
        client_cert: str | Path | None = None,
        client_key: str | Path | None = None,
        request_timeout: float | timedelta | str = RayCluster.request_timeout,
        unreachable_timeout: float | timedelta | str = 0.0,
    ) -> None:
        super().__init__(
            RayCluster(
                address=dashboard_url,
                token=None if callable(token) else token,
                source=AskedToken(token) if callable(token) else None,
                token_file=_path(token_file),
                token_header=token_header,
                headers=dict(headers or {}),
                cookies=dict(cookies or {}),
                verify=verify,
                request_timeout=to_seconds(request_timeout, "request_timeout")
                or RayCluster.request_timeout,
                client_cert=_path(client_cert),
                client_key=_path(client_key),
            ),
            unreachable_timeout=unreachable_timeout,
        )
        self.source = PluginSource(
            working_dir=working_dir,
            requirements_file=requirements_file,
            package_manager=package_manager,
            package_manager_options=package_manager_options,
            wheels_dir=wheels_dir,
            env=_copy(env),
            runtime_env=_copy(runtime_env),
        )
        self.resources = Resources(
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            memory=memory,
            resources=resources,
            label_selector=label_selector,
        )
        self.metadata = _copy(metadata)
        self.storage_path = _path(storage_path)
        self.on_upload: UploadProgress | None = None

    @classmethod
    def of_cluster(cls, cluster: RayCluster, **options: Any) -> RayJobExecutor:
        """Return an executor for a cluster.

        :param options: Arguments of the class, except those for the connection.
        :raises TypeError: if they include an argument for the connection.
        """
        known = {field.name for field in fields(RayCluster)} & options.keys()
        if known:
            raise TypeError(f"of_cluster() already has {', '.join(sorted(known))} from its cluster")
        executor = cls(cluster.address, **options)
        executor.cluster = cluster
        return executor

    def submit(
        self,
        action_name: str | Callable[..., Any],
        params: Mapping[str, Any] | None = None,
        *,
        job_id: str | None = None,
        **kwargs: Any,
    ) -> str:
        """Start an action as a job and return its submission ID at once.

        A second call with the same ``job_id`` starts nothing and returns the same ID. If an answer gets
        lost, the job is looked up by its ID, so a job is never started twice. If Ctrl-C or another
        exception from outside ends the call, nothing is sent after it, and a job that was sent is stopped.

        :param action_name: An action of the manifest, an entrypoint ``package.module:attribute``, or the class
            or function itself, whose module must lie in ``working_dir``.
        :param params: The action's keyword arguments, as JSON values.
        :param job_id: The submission ID. If there is none, this generates one.
        :param kwargs: What only this job gets: ``num_cpus``, ``num_gpus``, ``memory``, ``resources`` and
            ``label_selector`` instead of the executor's, ``env``, ``metadata`` and ``runtime_env`` merged into
            them. Ray's names of the resources, such as ``entrypoint_num_cpus``, are taken, too.
        :raises PluginManifestError: if the plugin's folder can't be used.
        :raises ActionNotFoundError: if the plugin has no such action.
        :raises ActionParamsError: if the params can't be sent or do not match the action's schema.
        :raises RayJobSubmissionError: if we or Ray refused the job.
        :raises JobIdConflictError: if another job has the submission ID.
        :raises RayClusterUnreachableError: if it could not be found out whether the job was started.
        """
        job_id = _job_id(job_id)
        return self._submit_or_stop(self.prepare_action(action_name, params, **kwargs), job_id)

    def submit_entrypoint(
        self, entrypoint: str, *, job_id: str | None = None, **kwargs: Any
    ) -> str:
        """Start a shell command as a job and return its submission ID. See :meth:`submit` for the rest.

        :param entrypoint: The command. It runs in ``working_dir``, if there is one.
        """
        job_id = _job_id(job_id)
        return self._submit_or_stop(self.prepare_entrypoint(entrypoint, **kwargs), job_id)

    def prepare_action(
        self,
        action_name: str | Callable[..., Any],
        params: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> PreparedJob:
        """Return an action as a job to send, so that bad input is found before anything is sent."""
        request = JobRequest.of(self.resources, self.metadata, kwargs)
        return prepare_action(self.source, request, action_name, params)

    def prepare_function(
        self,
        function: FunctionSource,
        params: Mapping[str, Any] | None = None,
        *,
        requirements: Sequence[str] | str = (),
        **kwargs: Any,
    ) -> PreparedJob:
        """Return a Python function as a job to send.

        :param requirements: Requirement lines, or the path of a requirements file.
        """
        request = JobRequest.of(self.resources, self.metadata, kwargs)
        if isinstance(requirements, str):
            source = replace(self.source, requirements_file=requirements)
        else:
            source = replace(self.source, requirements=tuple(requirements))
        return prepare_function(source, request, function, params)

    def prepare_entrypoint(self, entrypoint: str, **kwargs: Any) -> PreparedJob:
        """Return a shell command as a job to send."""
        request = JobRequest.of(self.resources, self.metadata, kwargs)
        return prepare_entrypoint(self.source, request, entrypoint)

    def submit_prepared(
        self, job: PreparedJob, job_id: str, *, on_sent: Callable[[], object] = lambda: None
    ) -> str:
        """Start a prepared job once. See :meth:`submit`.

        If an exception ends this call early, nothing is sent after it, and whoever catches it has to stop a
        job that was sent.

        :param on_sent: Called, on another thread, when the job is about to be sent. Until then it can't exist.
        """
        check_new_job_id(job_id)
        job = job.with_env_vars(self._storage_vars(job_id, job))
        was_sent = False

        def sending() -> None:
            nonlocal was_sent
            was_sent = True
            on_sent()

        async def send(api: JobsApi) -> str:
            try:
                known = await api.find_info(job_id)
            except (RayClusterUnreachableError, RayAuthenticationError) as exc:
                if was_sent:
                    raise
                raise exc.about(None) from exc
            if known is not None:
                submission.refuse_other(api, known, job.spec)
                return job_id
            for package in job.packages:
                await submission.upload(api, package, on_progress=self.on_upload)
            await submission.submit(api, job.spec, job_id, on_sent=sending)
            return job_id

        return self._call(send, is_bounded=False)

    def _storage_vars(self, job_id: str, job: PreparedJob) -> dict[str, str]:
        if self.storage_path is None:
            return {}
        return storage_vars(self.storage_path, job_id=job_id, metadata=job.spec.metadata)

    def _submit_or_stop(self, job: PreparedJob, job_id: str) -> str:
        """Submit the job. If Ctrl-C or the like comes first, nobody learns its ID, so stop it."""
        sent: list[str] = []
        try:
            return self.submit_prepared(job, job_id, on_sent=lambda: sent.append(job_id))
        except AirflowSynapseError:
            raise
        except BaseException:
            if sent:
                self.stop_and_tell(job_id, logger=log, patience=self.cluster.request_timeout)
            raise


def _path(path: str | Path | None) -> str | None:
    return None if path is None else str(path)


def _copy(mapping: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return a copy. Anything but a mapping is refused later, when it is used."""
    return dict(mapping) if isinstance(mapping, Mapping) else mapping or {}


def _job_id(job_id: str | None) -> str:
    if job_id is None:
        return f"synapse-{uuid.uuid4().hex}"
    return check_new_job_id(job_id)
