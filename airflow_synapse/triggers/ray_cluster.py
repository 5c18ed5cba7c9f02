"""Waits for a Ray cluster on Kubernetes in Airflow's triggerer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_synapse.clusters.names import ClusterName
from airflow_synapse.clusters.ray_clusters import HEAD
from airflow_synapse.exceptions import AirflowSynapseError
from airflow_synapse.handover.airflow_values import safe_text
from airflow_synapse.hooks.kuberay import KubeRayHook
from airflow_synapse.hooks.kubernetes_config import DEFAULT_KUBERNETES_CONN_ID
from airflow_synapse.rayjobs.job.outcome import Outcome

READY = "READY"
"""The status of the event for a cluster that is ready."""


class RayClusterTrigger(BaseTrigger):
    """Waits for a RayCluster to be ready, logs what changes, and yields one event.

    The event is a dict with ``status`` (``READY``, ``UNREACHABLE`` or ``ERROR``), ``ray_cluster`` and
    ``message``. All triggers of one namespace and connection share one list of RayClusters.

    :param ray_cluster: The RayCluster, as ``namespace/name``.
    :param kubernetes_conn_id: The connection to the Kubernetes cluster that has it.
    :param ready: What to wait for: ``head`` or ``workers``.
    :param poll_interval: Seconds between two looks.
    :param unreachable_timeout: Seconds to wait for an API server that gives no usable answer.
    """

    def __init__(
        self,
        ray_cluster: str,
        kubernetes_conn_id: str = DEFAULT_KUBERNETES_CONN_ID,
        *,
        ready: str = HEAD,
        poll_interval: float = 5.0,
        unreachable_timeout: float = 600.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's has no annotations
        self.ray_cluster = ray_cluster
        self.kubernetes_conn_id = kubernetes_conn_id
        self.ready = ready
        self.poll_interval = poll_interval
        self.unreachable_timeout = unreachable_timeout

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what another triggerer needs to continue."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "ray_cluster": self.ray_cluster,
                "kubernetes_conn_id": self.kubernetes_conn_id,
                "ready": self.ready,
                "poll_interval": self.poll_interval,
                "unreachable_timeout": self.unreachable_timeout,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the event."""
        event = {"ray_cluster": self.ray_cluster}
        try:
            told = await self._wait()
        except Exception as exc:  # whatever it is, the task must hear of it
            if not isinstance(exc, AirflowSynapseError):
                self.log.exception("Waiting for Ray cluster %s failed.", self.ray_cluster)
            status = Outcome.of_failure(exc, job_id="", cluster=None).status
            event |= {"status": status, "message": safe_text(str(exc))}
        else:
            event |= {"status": READY, "message": told}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]  # Airflow's has no annotations

    async def _wait(self) -> str:
        hook, name = KubeRayHook(self.kubernetes_conn_id), ClusterName.of(self.ray_cluster)
        kubernetes = await hook.aget_conn()
        waiting = await asyncio.to_thread(_import_waiting)
        key = f"{self.kubernetes_conn_id} {name.namespace}"

        def make() -> Any:
            return hook.api_of(kubernetes, name.namespace, read=hook.aget_conn)

        async with waiting.shared_board(key, make) as board:
            cluster = await waiting.wait_until_ready(
                board,
                name,
                ready=self.ready,
                poll_interval=self.poll_interval,
                unreachable_timeout=self.unreachable_timeout,
                logger=self.log,
            )
        return str(cluster.told())


def _import_waiting() -> Any:
    """Import the HTTP code, which takes a while. Called in a thread."""
    from airflow_synapse.clusters import waiting

    return waiting
