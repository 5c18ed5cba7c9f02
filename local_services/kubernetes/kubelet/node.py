"""What all pods share, and how the node says that it lives."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_services.kubernetes.async_api import Api
from local_services.kubernetes.network import Network

MERGE_PATCH = "application/merge-patch+json"
KUBELET_PORT = 10250

_HEARTBEAT = 10.0
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_HEALTHY = (
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)


@dataclass(frozen=True)
class Node:
    """One node, with what its pods need.

    :param images: What comes first on the PATH of an image's containers, by name.
    :param first_pause: Seconds of the first back-off; each further one is twice as long.
    :param longest_grace: Seconds that a container gets to end at most, whatever its pod says.
    """

    name: str
    api: Api
    network: Network
    folder: Path
    api_port: int
    images: Mapping[str, str]
    version: str
    cpu: str = "16"
    memory: str = "32Gi"
    first_pause: float = 10.0
    longest_grace: float = 5.0


def now() -> str:
    """Return the time as Kubernetes writes it."""
    return dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


async def keep_alive(node: Node) -> None:
    """Register the node, and renew its status and lease for ever."""
    body = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": _labels(node)},
    }
    await node.api.call("POST", "/api/v1/nodes", body, fine=(409,))
    born = now()
    while True:
        status = {"status": _status(node, born)}
        await node.api.call("PATCH", f"/api/v1/nodes/{node.name}/status", status, kind=MERGE_PATCH)
        await _renew_lease(node)
        await asyncio.sleep(_HEARTBEAT)


async def _renew_lease(node: Node) -> None:
    renewed = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": node.name, "leaseDurationSeconds": 40, "renewTime": renewed}
    path = f"{_LEASES}/{node.name}"
    if await node.api.call("PATCH", path, {"spec": spec}, kind=MERGE_PATCH, fine=(404,)) is None:
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": node.name, "namespace": "kube-node-lease"},
            "spec": spec,
        }
        await node.api.call("POST", _LEASES, lease, fine=(404, 409))


def _labels(node: Node) -> dict[str, str]:
    return {
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": _architecture(),
    }


def _status(node: Node, born: str) -> dict[str, Any]:
    sizes = {"cpu": node.cpu, "memory": node.memory, "pods": "110", "ephemeral-storage": "50Gi"}
    return {
        "capacity": sizes,
        "allocatable": sizes,
        "addresses": [
            {"type": "InternalIP", "address": node.network.gateway},
            {"type": "Hostname", "address": node.name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
        "nodeInfo": _information(node),
        "conditions": [
            {
                "type": kind,
                "status": state,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": now(),
                "lastTransitionTime": born,
            }
            for kind, state, reason, message in _HEALTHY
        ],
    }


def _information(node: Node) -> dict[str, str]:
    return {
        "kubeletVersion": node.version,
        "operatingSystem": "linux",
        "architecture": _architecture(),
        "containerRuntimeVersion": "process://1",
        "kernelVersion": os.uname().release,
        "osImage": "processes of this machine",
        "machineID": "",
        "systemUUID": "",
        "bootID": "",
        "kubeProxyVersion": "",
    }


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
