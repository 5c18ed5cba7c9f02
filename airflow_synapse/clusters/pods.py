"""What Kubernetes says about a pod, as a frozen value. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PodState:
    """A pod as Kubernetes knows it now.

    :param name: Its name.
    :param phase: ``Pending``, ``Running``, …
    :param node: The node that it runs on, once it has one.
    :param why: Why it does not run, as far as Kubernetes says.
    """

    name: str
    phase: str = ""
    node: str = ""
    why: str = ""

    @classmethod
    def from_api(cls, found: Mapping[str, Any]) -> PodState:
        """Return what an object of kind Pod says."""
        status = found.get("status") or {}
        return cls(
            name=str((found.get("metadata") or {}).get("name")),
            phase=str(status.get("phase") or ""),
            node=str((found.get("spec") or {}).get("nodeName") or ""),
            why="; ".join(_reasons(status)),
        )


def _reasons(status: Mapping[str, Any]) -> Iterator[str]:
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind) or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason"):
                yield _told(waiting)
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield _told(condition)


def _told(what: Mapping[str, Any]) -> str:
    message = f": {what['message']}" if what.get("message") else ""
    return f"{what.get('reason')}{message}"
