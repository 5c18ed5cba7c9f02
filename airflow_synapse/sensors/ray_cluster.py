"""Waits for a Ray cluster on Kubernetes that something else makes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from airflow_synapse.clusters.names import ClusterName
from airflow_synapse.clusters.ray_clusters import HEAD, READY
from airflow_synapse.durations import to_interval
from airflow_synapse.exceptions import (
    ExecutionError,
    RayClusterGoneError,
    RayClusterUnreachableError,
)
from airflow_synapse.hooks.kuberay import KubeRayHook
from airflow_synapse.hooks.kubernetes_config import DEFAULT_KUBERNETES_CONN_ID
from airflow_synapse.hooks.template_values import to_text, to_value
from airflow_synapse.version_compat import conf

if TYPE_CHECKING:
    from airflow.sdk import Context

_POLL_INTERVAL = 5.0

_UNKNOWN = "unknown"
"""What was told last if the API server did not say how the cluster is."""


class RayClusterSensor(BaseSensorOperator):
    """Waits until a RayCluster on Kubernetes can be used. A cluster that is not there yet is waited for.

    Give it a ``timeout``: the default of Airflow's sensors is a week.

    :param ray_cluster: The RayCluster, as ``namespace/name``.
    :param kubernetes_conn_id: The connection to the Kubernetes cluster that has it.
    :param ready: What to wait for: ``head``, or ``workers`` for all workers, too.
    :param poll_interval: Seconds between two looks, or a timedelta.
    :param deferrable: Whether to wait in the triggerer. The default is ``[operators] default_deferrable``.
    """

    template_fields: Sequence[str] = ("ray_cluster", "kubernetes_conn_id", "ready")
    ui_color = "#dff0fb"

    def __init__(
        self,
        *,
        ray_cluster: Any,
        kubernetes_conn_id: str = DEFAULT_KUBERNETES_CONN_ID,
        ready: str = HEAD,
        poll_interval: float | timedelta | str = _POLL_INTERVAL,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        seconds = to_interval(poll_interval, "poll_interval", default=_POLL_INTERVAL)
        kwargs.setdefault("poke_interval", seconds)
        super().__init__(**kwargs)
        if deferrable is None:
            deferrable = conf.getboolean("operators", "default_deferrable", fallback=False)
        self.ray_cluster = ray_cluster
        self.kubernetes_conn_id = kubernetes_conn_id
        self.ready = ready
        self.poll_interval = seconds
        self.deferrable = deferrable
        self._told = ""

    @property
    def name(self) -> ClusterName:
        """The cluster, once templates are rendered."""
        return ClusterName.of(to_value(self.ray_cluster))

    def execute(self, context: Context) -> Any:
        """Wait for the cluster, in the triggerer if deferrable."""
        if self.ready not in READY:
            raise ValueError(f"ready is {self.ready!r}. Use one of {', '.join(READY)}.")
        if self.deferrable and not self.poke(context):
            from airflow_synapse.triggers.ray_cluster import RayClusterTrigger

            self.defer(
                trigger=RayClusterTrigger(
                    str(self.name),
                    self._conn_id,
                    ready=self.ready,
                    poll_interval=self.poll_interval,
                ),
                method_name="execute_complete",
                timeout=timedelta(seconds=self.timeout),
            )
        return None if self.deferrable else super().execute(context)

    @property
    def _conn_id(self) -> str:
        return to_text(self.kubernetes_conn_id) or DEFAULT_KUBERNETES_CONN_ID

    def poke(self, context: Context) -> bool:  # noqa: ARG002  # Airflow's signature
        """Return whether the cluster is ready. It is not while the API server gives no usable answer.

        :raises RayAuthenticationError: if the connection may not look at it.
        """
        try:
            cluster = KubeRayHook(self._conn_id).get_cluster(self.name)
        except RayClusterGoneError:
            self._tell("it is not there (yet)")
            return False
        except RayClusterUnreachableError as exc:
            if self._told != _UNKNOWN:
                self._told = _UNKNOWN
                self.log.warning(
                    "Ray cluster %s can't be looked at, so it is waited for. %s", self.name, exc
                )
            return False
        self._tell(cluster.told())
        return cluster.is_ready(self.ready)

    def _tell(self, state: str) -> None:
        if state != self._told:
            self._told = state
            self.log.info("Ray cluster %s: %s.", self.name, state)

    def execute_complete(self, context: Context, event: Any = None) -> None:  # noqa: ARG002
        """Turn the trigger's event into the end of the task."""
        status = event.get("status") if isinstance(event, dict) else None
        if status != "READY":
            message = event.get("message") if isinstance(event, dict) else repr(event)
            raise ExecutionError(
                reason=f"could not be waited for, as its Ray cluster {self.name} was not seen to be ready: "
                f"{message}",
                hint="Look at the triggerer's log.",
            )
        self.log.info("Ray cluster %s: %s.", self.name, event.get("message"))
