"""Says where a cluster is, in the way that DAGs and commands do."""

from __future__ import annotations

import asyncio
import logging
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from airflow.sdk import BaseHook

from airflow_synapse.clusters.names import ClusterName
from airflow_synapse.clusters.reach import AUTO
from airflow_synapse.exceptions import RayAddressError
from airflow_synapse.hooks.connection import RayConnection, read_connection, stop_command
from airflow_synapse.hooks.credential_source import ConnectionSource, shared_reading
from airflow_synapse.hooks.kuberay import KubeRayHook, stop_command_on
from airflow_synapse.hooks.kubernetes_config import DEFAULT_KUBERNETES_CONN_ID
from airflow_synapse.hooks.template_values import to_text, to_value
from airflow_synapse.version_compat import aget_connection, connection_on_api_server

log = logging.getLogger(__name__)

DEFAULT_CONN_ID = "ray_default"


@dataclass(frozen=True)
class ClusterRef:
    """Where a Ray cluster is: the name of an Airflow connection, or of a RayCluster on Kubernetes.

    It holds no address and no secret, so it may be stored and shown. Resolve it whenever you need them,
    because they may have changed.

    :param ray_conn_id: The connection, of type ``ray``. Not used if there is a ``ray_cluster``.
    :param ray_cluster: The RayCluster, as ``namespace/name``.
    :param kubernetes_conn_id: The connection to the Kubernetes cluster that has it.
    :param reach: The way to it: ``auto``, ``service``, ``proxy`` or a template of an address.
    """

    ray_conn_id: str = DEFAULT_CONN_ID
    ray_cluster: str | None = None
    kubernetes_conn_id: str = DEFAULT_KUBERNETES_CONN_ID
    reach: str = AUTO

    @classmethod
    def of(
        cls,
        *,
        ray_conn_id: Any = None,
        ray_cluster: Any = None,
        kubernetes_conn_id: Any = None,
        reach: Any = None,
    ) -> ClusterRef:
        """Return what rendered arguments say. Nothing, in whatever form, means the default.

        :raises RayAddressError: if ``ray_cluster`` does not name a RayCluster.
        :raises ValueError: if there is a ``ray_conn_id``, too.
        """
        conn_id, given = to_text(ray_conn_id), to_value(ray_cluster)
        if given is None:
            return cls(conn_id or DEFAULT_CONN_ID)
        refuse_both(conn_id, given)
        return cls(
            DEFAULT_CONN_ID,
            str(ClusterName.of(given)),
            to_text(kubernetes_conn_id) or DEFAULT_KUBERNETES_CONN_ID,
            to_text(reach) or AUTO,
        )

    @classmethod
    def of_fields(cls, values: Mapping[str, Any]) -> ClusterRef | None:
        """Return where the rendered fields of a task say that the cluster is, None if they don't."""
        given = {name: values.get(name) for name in CLUSTER_FIELDS}
        if to_text(given["ray_cluster"]) is not None:
            try:
                return cls.of(**{**given, "ray_conn_id": None})
            except RayAddressError:
                return None
        conn_id = to_text(given["ray_conn_id"])
        return cls(conn_id) if isinstance(conn_id, str) and conn_id else None

    def __str__(self) -> str:
        return self.ray_cluster or self.ray_conn_id

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments that say this to an operator, a sensor, a trigger or a hook."""
        if self.ray_cluster is None:
            return {"ray_conn_id": self.ray_conn_id}
        return {
            "ray_cluster": self.ray_cluster,
            "kubernetes_conn_id": self.kubernetes_conn_id,
            "reach": self.reach,
        }

    def command_options(self) -> str:
        """Return the options that say this to a command of ``airflow ray``, each after a space."""
        default = ClusterRef()
        if self.ray_cluster is None:
            words = {"--conn-id": self.ray_conn_id if self != default else ""}
        else:
            is_usual = self.kubernetes_conn_id == default.kubernetes_conn_id
            words = {
                "--ray-cluster": self.ray_cluster,
                "--kubernetes-conn-id": "" if is_usual else self.kubernetes_conn_id,
                "--reach": "" if self.reach == default.reach else shlex.quote(self.reach),
            }
        return "".join(f" {name} {value}" for name, value in words.items() if value)

    def how_to_stop(self, job_id: str) -> str:
        """Return the command with which a person stops a job there."""
        if self.ray_cluster is not None:
            return stop_command_on(
                self.ray_cluster, self.reach, job_id, conn_id=self.kubernetes_conn_id
            )
        return stop_command(job_id, conn_id=self.ray_conn_id)

    def resolve(self) -> RayConnection:
        """Return how the cluster is reached now, in a task, a command or a script.

        :raises RayAddressError: if the connection can't be used.
        :raises AirflowNotFoundException: if there is no such connection.
        """
        if self.ray_cluster is not None:
            return self._kuberay().connect(self.ray_cluster, self.reach)
        source = ConnectionSource(self.ray_conn_id, lambda: asyncio.to_thread(self._read))
        return source.given_to(self._read())

    def is_growing(self) -> bool:
        """Whether the cluster has fewer workers than it should have, as far as that is known.

        Only Kubernetes knows, so this is False for the cluster of a connection. Raises nothing.
        """
        if self.ray_cluster is None:
            return False
        try:
            state = self._kuberay().get_cluster(self.ray_cluster)
        except Exception as exc:  # noqa: BLE001  # what Kubernetes can't say is not known
            log.debug("Whether %s is growing can't be told: %r", self, exc)
            return False
        return state.workers < state.wanted_workers

    def _kuberay(self) -> KubeRayHook:
        return KubeRayHook(self.kubernetes_conn_id)

    def _read(self) -> RayConnection:
        return read_connection(BaseHook.get_connection(self.ray_conn_id))

    async def aresolve(self) -> RayConnection:
        """Return how the cluster is reached now, in the triggerer. Raises the same as :meth:`resolve`."""
        if self.ray_cluster is not None:
            return await self._kuberay().aconnect(self.ray_cluster, self.reach)
        source = ConnectionSource(self.ray_conn_id, self._aread_shared)
        return source.given_to(await self._aread_shared())

    async def _aread_shared(self) -> RayConnection:
        return await shared_reading(self.ray_conn_id, self._aread)

    async def _aread(self) -> RayConnection:
        return read_connection(await aget_connection(self.ray_conn_id))

    def resolve_on_api_server(self, *, dag_id: str) -> RayConnection | None:
        """Return how the cluster is reached now, on the API server, None if there is no such connection.

        :param dag_id: The DAG that needs it. A connection may belong to the DAGs of one team.
        :raises RayAddressError: if the connection can't be used.
        """
        if self.ray_cluster is not None:
            return self._kuberay().connect_on_api_server(
                self.ray_cluster, self.reach, dag_id=dag_id
            )
        conn = connection_on_api_server(self.ray_conn_id, dag_id=dag_id)
        return None if conn is None else read_connection(conn)


CLUSTER_FIELDS = tuple(field.name for field in fields(ClusterRef))
"""The fields of operators and sensors that say where their cluster is."""


def refuse_both(ray_conn_id: Any, ray_cluster: Any) -> None:
    """Check that only one of them is given.

    :raises ValueError: if both are.
    """
    if ray_conn_id is not None and ray_cluster is not None:
        raise ValueError(
            "Both ray_conn_id and ray_cluster say where the Ray cluster is. Give one of them: a RayCluster on "
            "Kubernetes needs no Ray connection, only kubernetes_conn_id."
        )
