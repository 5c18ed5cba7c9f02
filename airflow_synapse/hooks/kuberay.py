"""Ray clusters of KubeRay as an Airflow hook."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseHook

from airflow_synapse.clusters.names import ClusterName
from airflow_synapse.clusters.reach import AUTO, Kubernetes, cluster_at
from airflow_synapse.hooks.connection import RayConnection
from airflow_synapse.hooks.credential_source import ConnectionSource, shared_reading
from airflow_synapse.hooks.kubernetes_config import DEFAULT_KUBERNETES_CONN_ID, load_kubernetes
from airflow_synapse.version_compat import (
    AirflowNotFoundException,
    aget_connection,
    connection_on_api_server,
)

if TYPE_CHECKING:
    from airflow_synapse.clusters.kubernetes_api import KubernetesApi
    from airflow_synapse.clusters.pods import PodState
    from airflow_synapse.clusters.ray_clusters import RayClusterState
    from airflow_synapse.rayjobs.client.credentials.pace import CredentialPace

T = TypeVar("T")
Reader = Callable[[], Awaitable[Kubernetes]]


class KubeRayHook(BaseHook):
    """Finds Ray clusters that KubeRay makes on the Kubernetes cluster of an Airflow connection.

    It needs ``airflow-synapse[kubernetes]``. Configuration and tokens come from Airflow's own Kubernetes hook.

    :param kubernetes_conn_id: The connection, of type ``kubernetes``. If there is no ``kubernetes_default``,
        the configuration of the pod is used, or else the kubeconfig of the user, as Airflow's operators do.
    :param in_cluster: Whether to use the configuration of the pod.
    :param cluster_context: The context of the kubeconfig.
    :param config_file: The path of a kubeconfig.
    """

    conn_name_attr = "kubernetes_conn_id"
    default_conn_name = DEFAULT_KUBERNETES_CONN_ID
    conn_type = "kubernetes"
    hook_name = "KubeRay"

    def __init__(
        self,
        kubernetes_conn_id: str = default_conn_name,
        *,
        in_cluster: bool | None = None,
        cluster_context: str | None = None,
        config_file: str | None = None,
    ) -> None:
        super().__init__()
        self.kubernetes_conn_id = kubernetes_conn_id
        self._options = {
            "in_cluster": in_cluster,
            "cluster_context": cluster_context,
            "config_file": config_file,
        }

    # Kubernetes

    def get_conn(self) -> Kubernetes:
        """Return the Kubernetes cluster, in a task, a command or a script.

        :raises RayAddressError: if the connection can't be used.
        :raises AirflowNotFoundException: if there is no such connection.
        """
        return self._load(self._read(BaseHook.get_connection))

    async def aget_conn(self) -> Kubernetes:
        """Return the Kubernetes cluster, in the triggerer. Raises the same as :meth:`get_conn`."""
        return await shared_reading(f"kubernetes {self.kubernetes_conn_id}", self._aread_all)

    async def _aread_all(self) -> Kubernetes:
        try:
            connection = await aget_connection(self.kubernetes_conn_id)
            extras: Mapping[str, Any] = connection.extra_dejson
        except AirflowNotFoundException:
            extras = self._extras_of_none()
        return await asyncio.to_thread(self._load, extras)

    def _read(self, get: Callable[[str], Any]) -> Mapping[str, Any]:
        try:
            connection = get(self.kubernetes_conn_id)
        except AirflowNotFoundException:
            connection = None
        return self._extras_of_none() if connection is None else dict(connection.extra_dejson)

    def _extras_of_none(self) -> Mapping[str, Any]:
        """Return what is used if there is no connection, as Airflow's own operators do."""
        if self.kubernetes_conn_id == DEFAULT_KUBERNETES_CONN_ID:
            return {}
        raise AirflowNotFoundException(f"The conn_id `{self.kubernetes_conn_id}` isn't defined")

    def _load(self, extras: Mapping[str, Any]) -> Kubernetes:
        return load_kubernetes(self.kubernetes_conn_id, extras, **self._options)

    # Ray clusters

    def get_cluster(self, ray_cluster: Any) -> RayClusterState:
        """Return what Kubernetes knows about a RayCluster.

        :param ray_cluster: ``namespace/name``, or the XCom of the task that made it.
        :raises RayClusterGoneError: if there is none with this name.
        :raises RayAuthenticationError: if the connection may not read it.
        """
        name = ClusterName.of(ray_cluster)
        return self._ask(name.namespace, lambda api: api.get_cluster(name))

    def list_clusters(self, namespace: str | None = None) -> list[RayClusterState]:
        """Return all RayClusters of a namespace.

        :param namespace: The default is that of the connection, else ``default``.
        """
        return self._ask(namespace, lambda api: api.list_clusters())

    def _ask(self, namespace: str | None, work: Callable[[KubernetesApi], Awaitable[T]]) -> T:
        from airflow_synapse.rayjobs.crossing import Crossing

        kubernetes = self.get_conn()

        async def asked() -> T:
            async with self.api_of(kubernetes, namespace) as api:
                return await work(api)

        with Crossing() as crossing:
            return crossing.call(asked)

    def describe(
        self, ray_cluster: Any
    ) -> tuple[RayClusterState, list[PodState], list[Mapping[str, Any]]]:
        """Return what Kubernetes says about a RayCluster, its pods and its events. Raises as :meth:`get_cluster`."""
        name = ClusterName.of(ray_cluster)

        async def all_of(
            api: KubernetesApi,
        ) -> tuple[RayClusterState, list[PodState], list[Mapping[str, Any]]]:
            cluster = await api.get_cluster(name)
            return cluster, await api.list_pods(name), await api.list_events(name)

        return self._ask(name.namespace, all_of)

    def api_of(
        self,
        kubernetes: Kubernetes,
        namespace: str | None = None,
        *,
        read: Reader | None = None,
        pace: CredentialPace | None = None,
    ) -> KubernetesApi:
        """Return the API server of a Kubernetes cluster. Nothing is sent yet; the caller must close it.

        :param namespace: What to ask about. The default is the connection's namespace, else ``default``.
        :param read: Reads the connection again. The default is for tasks, commands and scripts.
        :param pace: How often credentials are read again, and for how long they may be refused.
        """
        from airflow_synapse.clusters.kubernetes_api import KubernetesApi
        from airflow_synapse.rayjobs.client.credentials.pace import USUAL_PACE

        async def reread() -> RayConnection:
            again = await (read or self._in_thread)()
            return RayConnection(cluster=again.api, dashboard_url=again.api.address)

        source = ConnectionSource(f"kubernetes {self.kubernetes_conn_id}", reread)
        source.newest = api = replace(kubernetes.api, source=source)
        namespace = namespace or kubernetes.namespace or "default"
        return KubernetesApi(api, namespace, pace=pace or USUAL_PACE)

    async def _in_thread(self) -> Kubernetes:
        return await asyncio.to_thread(self.get_conn)

    # How a cluster is reached

    def connect(self, ray_cluster: Any, reach: str = AUTO) -> RayConnection:
        """Return how a Ray cluster is reached now, in a task, a command or a script."""
        name = ClusterName.of(ray_cluster)
        return self._connection(name, self.get_conn(), reach, self._in_thread)

    async def aconnect(self, ray_cluster: Any, reach: str = AUTO) -> RayConnection:
        """Return how a Ray cluster is reached now, in the triggerer."""
        name = ClusterName.of(ray_cluster)
        return self._connection(name, await self.aget_conn(), reach, self.aget_conn)

    def connect_on_api_server(
        self, ray_cluster: Any, reach: str, *, dag_id: str
    ) -> RayConnection | None:
        """Return how a Ray cluster is reached now, on Airflow's API server, None if there is no connection."""
        name = ClusterName.of(ray_cluster)
        get = partial(connection_on_api_server, dag_id=dag_id)

        def load() -> Kubernetes:
            return self._load(self._read(get))

        try:
            kubernetes = load()
        except AirflowNotFoundException:
            return None
        return self._connection(name, kubernetes, reach, lambda: asyncio.to_thread(load))

    def _connection(
        self, name: ClusterName, kubernetes: Kubernetes, reach: str, read: Reader
    ) -> RayConnection:
        async def reread() -> RayConnection:
            kubernetes = await read()
            async with self.api_of(kubernetes, name.namespace) as api:
                ray_token = await api.ray_token(name)
            return self._connection_to(name, kubernetes, reach, ray_token)

        source = ConnectionSource(f"kubernetes {self.kubernetes_conn_id} {name} {reach}", reread)
        return source.given_to(self._connection_to(name, kubernetes, reach, None))

    def _connection_to(
        self, name: ClusterName, kubernetes: Kubernetes, reach: str, ray_token: str | None
    ) -> RayConnection:
        cluster = replace(
            cluster_at(name, kubernetes, reach, ray_token=ray_token),
            stop_command=stop_command_on(
                str(name), reach, "{job_id}", conn_id=self.kubernetes_conn_id
            ),
        )
        return RayConnection(cluster=cluster, dashboard_url=cluster.address)


def stop_command_on(ray_cluster: str, reach: str, job_id: str, *, conn_id: str) -> str:
    """Return the command with which a person stops a job. It works wherever the connection does."""
    words = f"airflow ray stop {job_id} --ray-cluster {ray_cluster}"
    if conn_id != DEFAULT_KUBERNETES_CONN_ID:
        words += f" --kubernetes-conn-id {conn_id}"
    return words if reach == AUTO else f"{words} --reach {shlex.quote(reach)}"
