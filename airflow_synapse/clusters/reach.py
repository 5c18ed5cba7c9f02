"""Says how a Ray cluster on Kubernetes is reached: by its service, by the API server, or at a given address. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from airflow_synapse.clusters.names import DASHBOARD_PORT, ClusterName
from airflow_synapse.exceptions import RayAddressError
from airflow_synapse.rayjobs.models import DEFAULT_TOKEN_HEADER, KubernetesPlace, RayCluster

AUTO = "auto"
SERVICE = "service"
PROXY = "proxy"

RAY_TOKEN_HEADER = "X-Ray-Authorization"  # noqa: S105  # the name of a header
"""Where Ray's own token goes if the API server takes ``Authorization`` for itself, and removes it."""


@dataclass(frozen=True)
class Kubernetes:
    """A Kubernetes cluster, as a connection describes it.

    :param api: Its API server, with the credentials for it.
    :param is_inside: Whether this process runs in a pod of it.
    :param namespace: The namespace to use if none is given, if the connection names one.
    """

    api: RayCluster
    is_inside: bool = False
    namespace: str | None = None


def way_of(reach: str, kubernetes: Kubernetes) -> str:
    """Return :data:`SERVICE`, :data:`PROXY` or a template of an address.

    :raises RayAddressError: if ``reach`` is nothing of that.
    """
    if reach == AUTO:
        return SERVICE if kubernetes.is_inside else PROXY
    if reach in (SERVICE, PROXY) or reach.startswith(("http://", "https://")):
        return reach
    raise RayAddressError(
        address=f"reach {reach!r}",
        reason="it is no way to a Ray cluster",
        hint='Use "auto", "service", "proxy" or an address such as "https://ray.example.com/{namespace}/{name}".',
    )


def cluster_at(
    name: ClusterName, kubernetes: Kubernetes, reach: str, *, ray_token: str | None
) -> RayCluster:
    """Return where a cluster's Jobs API is, and the credentials for it.

    :param reach: As users give it.
    :param ray_token: Ray's own token, if the cluster asks for one.
    """
    way = way_of(reach, kubernetes)
    if way == PROXY:
        return _by_proxy(name, kubernetes, ray_token)
    if way == SERVICE:
        address = f"http://{name.head_service}.{name.namespace}.svc:{DASHBOARD_PORT}"
    else:
        address = way.replace("{namespace}", name.namespace).replace("{name}", name.name)
    return RayCluster(
        address=address, token=ray_token, request_timeout=kubernetes.api.request_timeout
    )


def _by_proxy(name: ClusterName, kubernetes: Kubernetes, ray_token: str | None) -> RayCluster:
    place = KubernetesPlace(kubernetes.api.address.rstrip("/"), name.namespace, name.name)
    headers = dict(kubernetes.api.headers)
    if ray_token is not None:
        headers[RAY_TOKEN_HEADER] = f"Bearer {ray_token}"
    return replace(
        kubernetes.api,
        address=f"{place.url}/services/{name.head_service}:dashboard/proxy",
        headers=headers,
        token_header=DEFAULT_TOKEN_HEADER,
        place=place,
    )
