"""The arguments by which operators and sensors say where their cluster is."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator

from airflow_synapse.clusters.reach import AUTO
from airflow_synapse.hooks.cluster_ref import (
    CLUSTER_FIELDS,
    DEFAULT_CONN_ID,
    ClusterRef,
    refuse_both,
)
from airflow_synapse.hooks.kubernetes_config import DEFAULT_KUBERNETES_CONN_ID
from airflow_synapse.hooks.ray_job import RayJobHook


class ClusterArguments(BaseOperator):
    """A task on one Ray cluster.

    A subclass must add :data:`.CLUSTER_FIELDS` to its ``template_fields``.

    :param ray_conn_id: The connection to the cluster, of type ``ray``. The default is ``ray_default``.
    :param ray_cluster: Instead of it: a RayCluster on Kubernetes, as ``namespace/name`` or the output of the
        task that made it.
    :param kubernetes_conn_id: The connection to the Kubernetes cluster that has it.
    :param reach: The way to it: ``service``, ``proxy`` (through the Kubernetes API server), an address with
        ``{namespace}`` and ``{name}``, or ``auto``: the service from inside of the Kubernetes cluster, else the
        proxy.
    """

    def __init__(
        self,
        *,
        ray_conn_id: str | None = None,
        ray_cluster: Any = None,
        kubernetes_conn_id: str = DEFAULT_KUBERNETES_CONN_ID,
        reach: str = AUTO,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        refuse_both(ray_conn_id, ray_cluster)
        is_default = ray_conn_id is None and ray_cluster is None
        self.ray_conn_id = DEFAULT_CONN_ID if is_default else ray_conn_id
        self.ray_cluster = ray_cluster
        self.kubernetes_conn_id = kubernetes_conn_id
        self.reach = reach

    @property
    def cluster_fields(self) -> dict[str, Any]:
        """The arguments that say where the cluster is, as they are now."""
        if self.ray_cluster is None:
            return {"ray_conn_id": self.ray_conn_id}
        return {name: getattr(self, name) for name in CLUSTER_FIELDS if name != "ray_conn_id"}

    @property
    def cluster_ref(self) -> ClusterRef:
        """Where the cluster is, once templates are rendered."""
        return ClusterRef.of(**self.cluster_fields)

    def cluster_hook(self, **executor_options: Any) -> RayJobHook:
        """Return a hook for the cluster.

        :param executor_options: More arguments for the hook's executor.
        """
        return RayJobHook.of(self.cluster_ref, **executor_options)
