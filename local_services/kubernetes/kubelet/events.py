"""The events of one pod, counted as a kubelet counts them."""

from __future__ import annotations

import time

from local_services.kubernetes.async_api import ApiError, Seen
from local_services.kubernetes.kubelet.node import MERGE_PATCH, Node, now

_UNWANTED = (403, 404)
"""The namespace goes, or the event went after its hour."""


class PodEvents:
    """Writes events about one pod."""

    def __init__(self, pod: Seen, node: Node) -> None:
        self._node = node
        self._metadata = pod["metadata"]
        self._path = f"/api/v1/namespaces/{self._metadata['namespace']}/events"
        self._counts: dict[tuple[str, str, str], tuple[str, int]] = {}

    async def normal(self, reason: str, message: str, *, field: str = "") -> None:
        """Write an event that is no cause for concern."""
        await self._write("Normal", reason, message, field)

    async def warning(self, reason: str, message: str, *, field: str = "") -> None:
        """Write an event that somebody should look at."""
        await self._write("Warning", reason, message, field)

    async def _write(self, kind: str, reason: str, message: str, field: str) -> None:
        key = (reason, message, field)
        name, count = self._counts.get(key, (f"{self._metadata['name']}.{time.time_ns():x}", 0))
        self._counts[key] = name, count + 1
        try:
            if count:
                again = {"count": count + 1, "lastTimestamp": now()}
                path = f"{self._path}/{name}"
                await self._node.api.call("PATCH", path, again, kind=MERGE_PATCH, fine=_UNWANTED)
            else:
                event = self._event(name, kind, reason, message, field)
                await self._node.api.call("POST", self._path, event, fine=_UNWANTED)
        except ApiError as exc:
            print(f"event: {exc}", flush=True)

    def _event(self, name: str, kind: str, reason: str, message: str, field: str) -> Seen:
        moment = now()
        about = {
            "apiVersion": "v1",
            "kind": "Pod",
            **{key: self._metadata[key] for key in ("name", "namespace", "uid")},
            **({"fieldPath": field} if field else {}),
        }
        return {
            "metadata": {"name": name, "namespace": self._metadata["namespace"]},
            "involvedObject": about,
            "type": kind,
            "reason": reason,
            "message": message[:1024],
            "count": 1,
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "source": {"component": "kubelet", "host": self._node.name},
            "reportingComponent": "kubelet",
            "reportingInstance": self._node.name,
        }
