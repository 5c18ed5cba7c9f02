"""All pods of this node, as the API server wants them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from local_services.kubernetes.async_api import Seen
from local_services.kubernetes.kubelet.node import Node
from local_services.kubernetes.kubelet.pod import Pod
from local_services.kubernetes.kubelet.pod_status import ENDED

_SLICES = "/apis/discovery.k8s.io/v1/endpointslices"


class Pods:
    """The pods that the scheduler has given to this node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._pods: dict[str, Pod] = {}
        self._slices: dict[str, Seen] = {}

    def __iter__(self) -> Iterator[Pod]:
        return iter(list(self._pods.values()))

    async def follow(self) -> None:
        """Start and end pods for ever."""
        query = f"fieldSelector=spec.nodeName={self._node.name}"
        async for kind, seen in self._node.api.follow("/api/v1/pods", query):
            uids = {pod["metadata"]["uid"] for pod in seen}
            if kind == "ALL":
                await self._remove(set(self._pods) - uids)
            if kind == "DELETED":
                await self._remove(uids)
                continue
            for pod in seen:
                self._see(pod)

    async def follow_services(self) -> None:
        """Keep the names of all services known to all pods, for ever."""
        async for kind, seen in self._node.api.follow(_SLICES):
            if kind == "ALL":
                self._slices.clear()
            for endpoints in seen:
                uid = endpoints["metadata"]["uid"]
                if kind == "DELETED":
                    self._slices.pop(uid, None)
                else:
                    self._slices[uid] = endpoints
            for pod in self:
                pod.write_names()

    async def remove_all(self) -> None:
        """Remove all pods from this machine; the API server still has them."""
        await self._remove(set(self._pods))

    def _see(self, seen: Seen) -> None:
        uid = seen["metadata"]["uid"]
        if uid not in self._pods:
            is_deleted = "deletionTimestamp" in seen["metadata"]
            if seen["status"].get("phase") in ENDED and not is_deleted:
                return
            self._pods[uid] = Pod(seen, self._node, self._slices)
        self._pods[uid].see(seen)

    async def _remove(self, uids: set[str]) -> None:
        gone = [self._pods.pop(uid) for uid in uids if uid in self._pods]
        await asyncio.gather(*(pod.remove() for pod in gone))
