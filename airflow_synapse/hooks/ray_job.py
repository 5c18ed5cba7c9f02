"""Ray's Jobs API as an Airflow hook."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cache, cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_synapse.exceptions import AirflowSynapseError
from airflow_synapse.hooks.cluster_ref import DEFAULT_CONN_ID, ClusterRef
from airflow_synapse.hooks.connection import RayConnection
from airflow_synapse.hooks.metrics import AirflowMetrics
from airflow_synapse.version_compat import AirflowNotFoundException

if TYPE_CHECKING:
    from airflow_synapse.rayjobs.crossing import Interruption
    from airflow_synapse.rayjobs.executor import RayJobExecutor
    from airflow_synapse.rayjobs.job.outcome import Outcome
    from airflow_synapse.rayjobs.job.report_lines import JobReport
    from airflow_synapse.rayjobs.models import JobInfo
    from airflow_synapse.rayjobs.reporting import Emit, Logger
    from airflow_synapse.rayjobs.watching.job_watcher import WatchOptions

log = logging.getLogger(__name__)

_PROBE_JOB = "airflow-synapse-connection-test"


class RayJobHook(BaseHook):
    """Submits, watches and stops jobs on the Ray cluster of an Airflow connection.

    :param ray_conn_id: The connection, of type ``ray``. The default is ``ray_default``.
    :param ray_cluster: Instead of it: a RayCluster on Kubernetes, as ``namespace/name``.
    :param kubernetes_conn_id: The connection to the Kubernetes cluster that has it.
    :param reach: The way to it: ``auto``, ``service``, ``proxy`` or an address with ``{namespace}`` and
        ``{name}``.
    :param executor_options: More arguments for
        :class:`~airflow_synapse.rayjobs.executor.RayJobExecutor`, such as ``working_dir``.

    :attr:`interruption` is what may end the hook's calls from elsewhere, such as a signal handler.
    """

    conn_name_attr = "ray_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = "ray"
    hook_name = "Ray"

    def __init__(
        self,
        ray_conn_id: str | None = None,
        *,
        ray_cluster: Any = None,
        kubernetes_conn_id: str | None = None,
        reach: str | None = None,
        **executor_options: Any,
    ) -> None:
        super().__init__()
        self.cluster_ref = ClusterRef.of(
            ray_conn_id=ray_conn_id,
            ray_cluster=ray_cluster,
            kubernetes_conn_id=kubernetes_conn_id,
            reach=reach,
        )
        self._executor_options = executor_options
        self.interruption: Interruption | None = None

    @classmethod
    def of(cls, cluster_ref: ClusterRef, **executor_options: Any) -> RayJobHook:
        """Return the hook of a cluster."""
        return cls(**cluster_ref.arguments(), **executor_options)

    @property
    def ray_conn_id(self) -> str:
        """The connection's name."""
        return self.cluster_ref.ray_conn_id

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the labels of the form's fields for Airflow 3.1. Newer ones read the provider info."""
        from airflow_synapse.get_provider_info import FIELD_BEHAVIOUR

        return {key.replace("-", "_"): value for key, value in FIELD_BEHAVIOUR.items()}

    @cached_property
    def connection(self) -> RayConnection:
        """What the Airflow connection says, for workers. Triggers call :meth:`aget_ray_connection`."""
        if _is_astro_provider_installed():
            log.warning(
                "astro-provider-ray is also installed and has a connection type with the same name, so "
                "you may see its connection form. Connections made for it work here, too."
            )
        return self.cluster_ref.resolve()

    async def aget_ray_connection(self) -> RayConnection:
        """Return what the Airflow connection says, from inside the triggerer's event loop."""
        return await self.cluster_ref.aresolve()

    def get_conn(self) -> RayJobExecutor:
        """Return an executor for the connection's cluster. This sends nothing."""
        from airflow_synapse.hooks.limits import watch_limits
        from airflow_synapse.rayjobs.executor import RayJobExecutor

        executor = RayJobExecutor.of_cluster(self.connection.cluster, **self._executor_options)
        executor.storage_path = executor.storage_path or self.connection.storage_path
        executor.metrics = AirflowMetrics()
        executor.limits = watch_limits()
        executor.interruption = self.interruption
        return executor

    def job_page(self, job_id: str) -> str:
        """Return the URL of the job's page in the Ray dashboard."""
        return self.connection.job_page(job_id)

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the cluster can be used, and a sentence that says so or says what is wrong."""
        from airflow_synapse.rayjobs.client.credentials.pace import IMPATIENT

        try:
            executor = self.get_conn()
            executor.pace = replace(executor.pace, credentials=IMPATIENT)
            version = executor.get_version()
            executor.find_info(_PROBE_JOB)
        except AirflowSynapseError as exc:
            return False, str(exc)
        except AirflowNotFoundException:
            return False, (
                f"Airflow found no connection {self.ray_conn_id!r}. A script outside Airflow finds "
                "connections in the environment (AIRFLOW_CONN_…) and in secrets backends. To test one in "
                f"Airflow's database, use `airflow ray check --conn-id {self.ray_conn_id}` or `airflow "
                f"connections test {self.ray_conn_id}`."
            )
        return True, f"Ray {version} at {executor.cluster.address} accepts jobs."

    # The executor's methods

    def submit(
        self,
        action_name: str | Callable[..., Any],
        params: Mapping[str, Any] | None = None,
        *,
        job_id: str | None = None,
        **kwargs: Any,
    ) -> str:
        """See :meth:`.RayJobExecutor.submit`."""
        return self.get_conn().submit(action_name, params, job_id=job_id, **kwargs)

    def submit_entrypoint(
        self, entrypoint: str, *, job_id: str | None = None, **kwargs: Any
    ) -> str:
        """See :meth:`.RayJobExecutor.submit_entrypoint`."""
        return self.get_conn().submit_entrypoint(entrypoint, job_id=job_id, **kwargs)

    def get_status(self, job_id: str) -> str:
        """See :meth:`.BaseRayExecutor.get_status`."""
        return self.get_conn().get_status(job_id)

    def get_info(self, job_id: str) -> JobInfo:
        """See :meth:`.BaseRayExecutor.get_info`."""
        return self.get_conn().get_info(job_id)

    def find_info(self, job_id: str) -> JobInfo | None:
        """See :meth:`.BaseRayExecutor.find_info`."""
        return self.get_conn().find_info(job_id)

    def get_logs(self, job_id: str) -> str:
        """See :meth:`.BaseRayExecutor.get_logs`."""
        return self.get_conn().get_logs(job_id)

    def stream_logs(self, job_id: str, **kwargs: Any) -> Iterator[str]:
        """See :meth:`.BaseRayExecutor.stream_logs`."""
        return self.get_conn().stream_logs(job_id, **kwargs)

    def get_result(self, job_id: str, timeout: float | timedelta | str | None = None) -> Any:
        """See :meth:`.BaseRayExecutor.get_result`."""
        return self.get_conn().get_result(job_id, timeout)

    def get_report(self, job_id: str) -> JobReport:
        """See :meth:`.BaseRayExecutor.get_report`."""
        return self.get_conn().get_report(job_id)

    def get_artifact(self, job_id: str, name: str) -> bytes:
        """See :meth:`.BaseRayExecutor.get_artifact`."""
        return self.get_conn().get_artifact(job_id, name)

    def stop(self, job_id: str) -> bool:
        """See :meth:`.BaseRayExecutor.stop`."""
        return self.get_conn().stop(job_id)

    def stop_and_tell(self, job_id: str, *, logger: Logger) -> bool:
        """See :meth:`.BaseRayExecutor.stop_and_tell`."""
        return self.get_conn().stop_and_tell(job_id, logger=logger)

    def wait(
        self,
        job_id: str,
        timeout_seconds: float | timedelta | str = 300,
        poll_interval: float | timedelta | str = 2.0,
    ) -> str:
        """See :meth:`.BaseRayExecutor.wait`."""
        return self.get_conn().wait(job_id, timeout_seconds, poll_interval)

    def watch(self, job_id: str, *, options: WatchOptions, emit: Emit, logger: Logger) -> Outcome:
        """See :meth:`.BaseRayExecutor.watch`."""
        return self.get_conn().watch(job_id, options=options, emit=emit, logger=logger)

    def list_jobs(self) -> list[JobInfo]:
        """See :meth:`.BaseRayExecutor.list_jobs`."""
        return self.get_conn().list_jobs()

    def delete(self, job_id: str) -> bool:
        """See :meth:`.BaseRayExecutor.delete`."""
        return self.get_conn().delete(job_id)


@cache
def _is_astro_provider_installed() -> bool:
    return find_spec("ray_provider") is not None
