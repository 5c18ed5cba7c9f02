"""Ray clusters of KubeRay, as tests make, watch and delete them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from airflow_synapse.rayjobs import RayJobExecutor
from local_services.kubernetes.rig import NAMESPACE, KubernetesRig

CLUSTERS = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayclusters"
NAMESPACE_PATH = f"/api/v1/namespaces/{NAMESPACE}"
PODS = f"{NAMESPACE_PATH}/pods"

USER = "airflow"
"""The ServiceAccount of somebody who may reach clusters, as the fixture ``user`` makes it."""

AGENT_PORT = 52365

T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T | None], *, timeout: float = 180.0) -> T:
    """Return what ``look`` finds, once it finds something."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {timeout:g} s for {what}"
        time.sleep(0.1)
    return found


def manifest(
    name: str,
    *,
    image: str,
    workers: int = 0,
    head: Mapping[str, Any] | None = None,
    is_autoscaled: bool = False,
    grace: int = 3,
    **more: Any,
) -> dict[str, Any]:
    """Return a RayCluster that is as small as can be.

    :param head: Further fields of the head's container.
    :param is_autoscaled: Whether the head takes no job with CPUs, and a worker is made for each that needs one.
    :param grace: Seconds that its pods get to end.
    :param more: Further fields of the spec.
    """
    ray = {"num-cpus": "2", "object-store-memory": "100000000"}
    spec: dict[str, Any] = {
        "headGroupSpec": {
            "rayStartParams": ray | ({"num-cpus": "0"} if is_autoscaled else {}),
            "template": _pod("ray-head", image, grace, head or {}),
        },
        **more,
    }
    if is_autoscaled:
        spec["enableInTreeAutoscaling"] = True
    if workers or is_autoscaled:
        group = {
            "groupName": "workers",
            "replicas": workers,
            "minReplicas": workers,
            "maxReplicas": workers + is_autoscaled,
            "rayStartParams": ray,
            "template": _pod("ray-worker", image, grace, {}),
        }
        spec["workerGroupSpecs"] = [group]
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


def _pod(container: str, image: str, grace: int, more: Mapping[str, Any]) -> dict[str, Any]:
    limits = {"cpu": "1", "memory": "2Gi"}
    return {
        "spec": {
            "terminationGracePeriodSeconds": grace,
            "containers": [
                {
                    "name": container,
                    "image": image,
                    "env": [{"name": "RAY_USAGE_STATS_ENABLED", "value": "0"}],
                    "resources": {"requests": {"cpu": "100m"}, "limits": limits},
                    **more,
                }
            ],
        }
    }


@dataclass(frozen=True)
class KubeRayCluster:
    """A RayCluster on the rig, which need not be there (yet, or any more)."""

    rig: KubernetesRig
    name: str

    @property
    def address(self) -> str:
        """Where its dashboard is, through the API server."""
        return self.address_behind(self.rig.url)

    def address_behind(self, api_server: str) -> str:
        """Return where its dashboard is, through a proxy of the API server."""
        service = f"{self.name}-head-svc:dashboard"
        return f"{api_server}/api/v1/namespaces/{NAMESPACE}/services/{service}/proxy"

    @property
    def ca(self) -> Path:
        """What the API server's certificate is checked with."""
        return self.rig.certificates.ca

    def create(self, **options: Any) -> KubeRayCluster:
        """Have it made, and return at once."""
        image = next(iter(self.rig.images))
        self.rig.api.create(CLUSTERS, manifest(self.name, **{"image": image, **options}))
        return self

    def delete(self) -> None:
        """Delete it and return when it and its pods are gone."""
        if self.seen():
            self.rig.api.delete(f"{CLUSTERS}/{self.name}")
        wait_for(f"the end of {self.name}", lambda: not self.seen() and not self.pods())

    def seen(self) -> dict[str, Any]:
        """Return the RayCluster; empty if there is none."""
        return self.rig.api.find(f"{CLUSTERS}/{self.name}") or {}

    def pods(self, group: str = "") -> list[dict[str, Any]]:
        """Return its pods, or those of one group: ``headgroup``, or a worker group's name."""
        labels = f"ray.io/cluster={self.name}" + (f",ray.io/group={group}" if group else "")
        found = self.rig.api.get(f"{PODS}?labelSelector={labels}")
        return list(found["items"])

    def head_pod(self) -> dict[str, Any]:
        """Return the head's pod, once there is one."""
        return wait_for(f"the head of {self.name}", lambda: self.pods("headgroup"))[0]

    def wait_until_ready(self) -> KubeRayCluster:
        """Return when its head answers."""
        wait_for(f"{self.name} to be ready", self.is_ready, timeout=300)
        return self

    def is_ready(self) -> bool:
        """Whether KubeRay says that the head is ready."""
        conditions = self.seen().get("status", {}).get("conditions") or []
        return any(c["type"] == "HeadPodReady" and c["status"] == "True" for c in conditions)

    def executor(self, **options: Any) -> RayJobExecutor:
        """Return an executor with the address, token and CA typed in."""
        options.setdefault("token", self.rig.certificates.token("admin"))
        return RayJobExecutor(
            options.pop("address", self.address),
            **{"verify": str(self.ca), "request_timeout": 60.0, **options},
        )
