"""Asks a Kubernetes API server about its own objects, over the same kind of session as Ray's dashboard."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote

from airflow_synapse.clusters.names import TOKEN_KEY, ClusterName
from airflow_synapse.clusters.pods import PodState
from airflow_synapse.clusters.ray_clusters import RayClusterState
from airflow_synapse.exceptions import (
    RayAuthenticationError,
    RayClusterGoneError,
    RayClusterUnreachableError,
)
from airflow_synapse.rayjobs.client.budget import REQUESTS_PER_SECOND, Lane
from airflow_synapse.rayjobs.client.credentials.pace import USUAL_PACE, CredentialPace
from airflow_synapse.rayjobs.client.kubernetes.answers import (
    KubernetesAnswerError,
    error_of_api_server,
)
from airflow_synapse.rayjobs.client.session import Session
from airflow_synapse.rayjobs.models import KubernetesPlace, RayCluster
from airflow_synapse.rayjobs.reporting import NO_METRICS

RAY_API = "/apis/ray.io/v1"


class KubernetesApi:
    """One API server, as far as Ray clusters go. Use it as an async context manager.

    All methods raise :class:`RayClusterUnreachableError` if another try may succeed, and
    :class:`~airflow_synapse.exceptions.RayAuthenticationError` with the Role that is missing if the API server
    does not let us.

    :param api: The API server, with the credentials for it.
    :param namespace: The namespace that is asked about.
    :param pace: How often credentials are read again, and for how long they may be refused.
    """

    def __init__(
        self, api: RayCluster, namespace: str, *, pace: CredentialPace = USUAL_PACE
    ) -> None:
        place = KubernetesPlace(api.address, namespace, "")
        self.namespace = namespace
        self.pace = pace
        self.session = Session(
            api,
            requests_per_second=REQUESTS_PER_SECOND,
            metrics=NO_METRICS,
            pace=pace,
            understand=partial(error_of_api_server, place),
        )

    async def __aenter__(self) -> KubernetesApi:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def ray_token(self, name: ClusterName) -> str | None:
        """Return Ray's own token, None if the cluster has none or it may not be read."""
        try:
            secret = await self._get(
                f"/api/v1/namespaces/{name.namespace}/secrets/{name.secret}", is_extra=True
            )
            return base64.b64decode(secret["data"][TOKEN_KEY]).decode().strip() or None
        except (KubernetesAnswerError, RayAuthenticationError, KeyError, TypeError, ValueError):
            return None

    async def get_cluster(self, name: ClusterName) -> RayClusterState:
        """Return what Kubernetes knows about a RayCluster.

        :raises RayClusterGoneError: if it knows none.
        """
        try:
            found = await self._get(f"{self._clusters(name.namespace)}/{quote(name.name, safe='')}")
        except KubernetesAnswerError as exc:
            raise self._missing(exc, name) from exc
        return RayClusterState.from_api(found)

    async def list_clusters(self) -> list[RayClusterState]:
        """Return all RayClusters of the namespace."""
        try:
            found = await self._get(self._clusters(self.namespace))
        except KubernetesAnswerError as exc:
            raise self._missing(exc, ClusterName(self.namespace, "*")) from exc
        return [RayClusterState.from_api(item) for item in found.get("items") or ()]

    async def list_pods(self, name: ClusterName) -> list[PodState]:
        """Return the pods of a Ray cluster, empty if they may not be listed."""
        label = quote(f"ray.io/cluster={name.name}", safe="")
        path = f"/api/v1/namespaces/{name.namespace}/pods?labelSelector={label}"
        with suppress(KubernetesAnswerError, RayAuthenticationError):
            found = await self._get(path, is_extra=True)
            return [PodState.from_api(pod) for pod in found.get("items") or ()]
        return []

    async def list_events(self, name: ClusterName) -> list[Mapping[str, Any]]:
        """Return the events about a RayCluster itself, empty if they may not be read."""
        field = quote(f"involvedObject.kind=RayCluster,involvedObject.name={name.name}", safe="")
        path = f"/api/v1/namespaces/{name.namespace}/events?fieldSelector={field}"
        with suppress(KubernetesAnswerError, RayAuthenticationError):
            return list((await self._get(path, is_extra=True)).get("items") or ())
        return []

    async def may(self, verb: str, resource: str, group: str = "") -> bool:
        """Return whether the API server would allow something in the namespace."""
        resource, _, subresource = resource.partition("/")
        attributes = {
            "namespace": self.namespace,
            "verb": verb,
            "resource": resource,
            "subresource": subresource,
            "group": group,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = await self._json("POST", path, json=review)
        return bool((answer.get("status") or {}).get("allowed"))

    async def kuberay_versions(self) -> list[str]:
        """Return the versions of KubeRay's API that the API server knows."""
        try:
            found = await self._get("/apis/ray.io")
        except KubernetesAnswerError:
            return []
        return [str(item.get("version")) for item in found.get("versions") or ()]

    async def dry_run(self, manifest: Mapping[str, Any]) -> str:
        """Return why the API server would refuse a RayCluster, empty if it would take it."""
        path = f"{self._clusters(self.namespace)}?dryRun=All&fieldValidation=Strict"
        try:
            await self._json("POST", path, json=manifest)
        except KubernetesAnswerError as exc:
            return exc.message
        return ""

    async def version(self) -> str:
        """Return the version of Kubernetes."""
        return str((await self._get("/version")).get("gitVersion") or "an unknown version")

    def _clusters(self, namespace: str) -> str:
        return f"{RAY_API}/namespaces/{namespace}/rayclusters"

    def _missing(self, error: KubernetesAnswerError, name: ClusterName) -> Exception:
        if (
            error.status == 404 and not error.reason
        ):  # Kubernetes' own text for a path that it does not know
            return RayClusterUnreachableError(
                cluster=self.session.cluster.address,
                reason="KubeRay is not installed: the API server knows no RayClusters",
                hint="Install KubeRay's operator and its custom resources.",
            )
        if error.status == 404:
            reason = f"Kubernetes does not know it (any more) and answered: {error.message}"
            return RayClusterGoneError(cluster=str(name), reason=reason)
        return self.session.unreachable(f"Kubernetes answered {error.status}: {error.message}")

    async def _get(self, path: str, *, is_extra: bool = False) -> dict[str, Any]:
        return await self._json("GET", path, is_extra=is_extra)

    async def _json(self, method: str, path: str, **kwargs: Any) -> dict[str, Any]:
        async with self.session.request(method, path, lane=Lane.CALL, **kwargs) as response:
            found = await self.session.json_of(response)
        if not isinstance(found, dict):
            raise self.session.unreachable("something answered that is no Kubernetes API server")
        return found
