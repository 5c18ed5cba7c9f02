"""The arguments by which operators and sensors say where their cluster is."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator

from airflow_synapse.hooks.cluster_ref import DEFAULT_CONN_ID, ClusterRef
from airflow_synapse.hooks.ray_job import RayJobHook
from airflow_synapse.hooks.template_values import to_text


class ClusterArguments(BaseOperator):
    """A task on one Ray cluster.

    A subclass must add :data:`.CLUSTER_FIELDS` to its ``template_fields``.

    :param ray_conn_id: The connection to the cluster, of type ``ray``.
    """

    def __init__(self, *, ray_conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ray_conn_id = ray_conn_id

    @property
    def cluster_ref(self) -> ClusterRef:
        """Where the cluster is, once templates are rendered."""
        return ClusterRef(to_text(self.ray_conn_id) or DEFAULT_CONN_ID)

    def cluster_hook(self, **executor_options: Any) -> RayJobHook:
        """Return a hook for the cluster.

        :param executor_options: More arguments for the hook's executor.
        """
        return RayJobHook.of(self.cluster_ref, **executor_options)
