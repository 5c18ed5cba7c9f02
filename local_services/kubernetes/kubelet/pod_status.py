"""The status of a pod, out of the states of its containers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from local_services.kubernetes.async_api import Seen
from local_services.kubernetes.kubelet.container import Container
from local_services.kubernetes.kubelet.node import now

ENDED = frozenset({"Succeeded", "Failed"})


def phase(pod: Seen, inits: Sequence[Container], containers: Sequence[Container]) -> str:
    """Return the pod's phase."""
    policy = restart_policy(pod)
    if policy == "Never" and any(init.exit_code for init in inits):
        return "Failed"
    codes = [container.exit_code for container in containers]
    if policy != "Always" and None not in codes:
        if not any(codes):
            return "Succeeded"
        if policy == "Never":
            return "Failed"
    if _unfinished(inits):
        return "Pending"
    has_begun = any(_has_begun(container) for container in containers)
    return "Running" if has_begun else "Pending"


def status(
    pod: Seen,
    inits: Sequence[Container],
    containers: Sequence[Container],
    *,
    address: str,
    node_address: str,
    born: str,
) -> Seen:
    """Return the status that a kubelet would write. An address that is not known yet is empty."""
    current = phase(pod, inits, containers)
    old = pod.get("status") or {}
    told = {
        "phase": current,
        "hostIP": node_address,
        "hostIPs": [{"ip": node_address}],
        "startTime": born,
        "conditions": _conditions(old, current, inits, containers, has_sandbox=bool(address)),
        "containerStatuses": [container.status() for container in containers],
    }
    if inits:
        told["initContainerStatuses"] = [init.status() for init in inits]
    if address:
        told |= {"podIP": address, "podIPs": [{"ip": address}]}
    return told


def restart_policy(pod: Seen) -> str:
    """Return ``Always``, ``OnFailure`` or ``Never``."""
    return str(pod["spec"].get("restartPolicy") or "Always")


def must_restart(pod: Seen, container: Container) -> bool:
    """Whether a container that has ended is started again."""
    if container.is_init and container.exit_code == 0:
        return False
    policy = restart_policy(pod)
    return policy == "Always" or (policy == "OnFailure" and container.exit_code != 0)


def _conditions(
    old: Seen,
    current: str,
    inits: Sequence[Container],
    containers: Sequence[Container],
    *,
    has_sandbox: bool,
) -> list[Seen]:
    before = {condition["type"]: condition for condition in old.get("conditions") or []}
    unready = _unready(current, containers)
    fresh = {
        "PodReadyToStartContainers": {} if has_sandbox else {"reason": ""},
        "Initialized": _uninitialized(current, inits),
        "Ready": unready,
        "ContainersReady": unready,
    }
    # The scheduler wrote the others.
    kept = [condition for kind, condition in before.items() if kind not in fresh]
    return kept + [_condition(kind, why, before.get(kind)) for kind, why in fresh.items()]


def _condition(kind: str, why_not: Mapping[str, str], before: Seen | None) -> Seen:
    state = "False" if why_not and why_not.get("reason") != "PodCompleted" else "True"
    if kind in ("Ready", "ContainersReady") and why_not:
        state = "False"
    is_same = before is not None and before["status"] == state
    since = before["lastTransitionTime"] if before and is_same else now()
    details = {key: text for key, text in why_not.items() if text}
    return {"type": kind, "status": state, "lastTransitionTime": since, **details}


def _unready(current: str, containers: Iterable[Container]) -> dict[str, str]:
    if current in ENDED:
        return {"reason": "PodCompleted" if current == "Succeeded" else "PodFailed"}
    names = [container.name for container in containers if not container.is_ready]
    return _because("ContainersNotReady", "unready", names)


def _uninitialized(current: str, inits: Iterable[Container]) -> dict[str, str]:
    if current == "Succeeded":
        return {"reason": "PodCompleted"}
    return _because("ContainersNotInitialized", "incomplete", _unfinished(inits))


def _because(reason: str, word: str, names: Sequence[str]) -> dict[str, str]:
    if not names:
        return {}
    return {"reason": reason, "message": f"containers with {word} status: [{' '.join(names)}]"}


def _unfinished(inits: Iterable[Container]) -> list[str]:
    return [init.name for init in inits if init.exit_code != 0]


def _has_begun(container: Container) -> bool:
    return bool(container.restarts or container.last_state or "waiting" not in container.state)
