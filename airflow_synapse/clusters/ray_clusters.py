"""What Kubernetes says about a RayCluster, as a frozen value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_synapse.clusters.names import ClusterName

HEAD = "head"
WORKERS = "workers"
READY = (HEAD, WORKERS)
"""What one may wait for: a head that is ready, or all workers, too."""


@dataclass(frozen=True)
class Condition:
    """One condition of a RayCluster.

    :param is_true: Whether it holds.
    :param reason: KubeRay's word for it.
    :param message: Its sentence.
    """

    is_true: bool
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class RayClusterState:
    """A RayCluster as Kubernetes knows it now.

    :param name: Its name.
    :param uid: What tells it from another one with the same name.
    :param conditions: Its conditions, by type.
    :param state: ``status.state``, which is deprecated and stays ``ready`` once it was.
    :param workers: How many workers are ready.
    :param wanted_workers: How many it should have.
    :param is_suspended: Whether it waits for a queue, such as Kueue's.
    :param is_being_deleted: Whether it is going away.
    :param has_token: Whether Ray asks for a token.
    :param ray_version: The version of Ray that it says it has.
    :param created: When it was made, as Kubernetes writes it.
    :param is_observed: Whether an operator has looked at it.
    """

    name: ClusterName
    uid: str = ""
    conditions: Mapping[str, Condition] | None = None
    state: str = ""
    workers: int = 0
    wanted_workers: int = 0
    is_suspended: bool = False
    is_being_deleted: bool = False
    has_token: bool = False
    ray_version: str = ""
    created: str = ""
    is_observed: bool = False

    @classmethod
    def from_api(cls, found: Mapping[str, Any]) -> RayClusterState:
        """Return what an object of kind RayCluster says."""
        metadata, spec, status = (_mapping(found, key) for key in ("metadata", "spec", "status"))
        conditions = {
            str(item.get("type")): Condition(
                item.get("status") == "True",
                str(item.get("reason") or ""),
                str(item.get("message") or ""),
            )
            for item in status.get("conditions") or ()
            if isinstance(item, Mapping)
        }
        return cls(
            name=ClusterName(str(metadata.get("namespace")), str(metadata.get("name"))),
            uid=str(metadata.get("uid") or ""),
            conditions=conditions,
            state=str(status.get("state") or ""),
            workers=int(status.get("readyWorkerReplicas") or 0),
            wanted_workers=int(status.get("desiredWorkerReplicas") or 0),
            is_suspended=bool(spec.get("suspend")),
            is_being_deleted=bool(metadata.get("deletionTimestamp")),
            has_token=_mapping(spec, "authOptions").get("mode") == "token",
            ray_version=str(spec.get("rayVersion") or ""),
            created=str(metadata.get("creationTimestamp") or ""),
            is_observed=bool(status.get("observedGeneration") or status.get("state")),
        )

    @property
    def is_head_ready(self) -> bool:
        """Whether the head can be used."""
        return self._holds("HeadPodReady") or self._holds("RayClusterProvisioned")

    @property
    def phase(self) -> str:
        """A word for people."""
        if self.is_being_deleted:
            return "deleting"
        if self.is_suspended or self._holds("RayClusterSuspended"):
            return "queued"
        if not self.is_head_ready:
            return "starting"
        return "ready" if self.workers >= self.wanted_workers else "head ready"

    def is_ready(self, ready: str) -> bool:
        """Return whether what somebody waits for is there.

        :param ready: :data:`HEAD` or :data:`WORKERS`.
        """
        if self.is_being_deleted or not self.is_head_ready:
            return False
        return ready == HEAD or self.workers >= self.wanted_workers

    def told(self) -> str:
        """Return how far it is, as a clause."""
        if self.is_being_deleted:
            return "it is being deleted"
        if self.phase == "queued":
            return "it is suspended, so it waits in a queue"
        if not self.is_observed:
            return "no KubeRay operator has looked at it yet"
        workers = f"{self.workers} of {self.wanted_workers} workers are ready"
        if self.is_head_ready:
            return f"its head is ready, and {workers}"
        head = (self.conditions or {}).get("HeadPodReady")
        why = f" ({head.reason}: {head.message})" if head and head.message else ""
        return f"its head is not ready{why}, and {workers}"

    def _holds(self, kind: str) -> bool:
        condition = (self.conditions or {}).get(kind)
        return condition is not None and condition.is_true


def _mapping(found: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = found.get(key)
    return value if isinstance(value, Mapping) else {}
