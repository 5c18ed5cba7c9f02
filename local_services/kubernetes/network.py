"""The bridge that joins the pods and the API server, and how all of it goes again.

``python -m local_services.kubernetes.network BRIDGE OWNER`` removes what that owner left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from local_services.processes import ServiceError

NAMES = Path("/etc/netns")
"""Where ``ip netns exec`` finds the hosts and resolv.conf of a namespace."""

SHARED_MEMORY = Path("/dev/shm")

_PREFIX = "ray-rig"
_SUBNETS = range(1, 250)


@dataclass(frozen=True)
class Network:
    """One of the subnets 10.244.N.0/24, so that rigs can run side by side."""

    number: int

    @property
    def bridge(self) -> str:
        """The bridge's name, and the beginning of the names of all that belongs to it."""
        return f"{_PREFIX}{self.number}"

    @property
    def gateway(self) -> str:
        """The bridge's own address: the node's, and the API server's."""
        return f"10.244.{self.number}.1"

    def address(self, host: int) -> str:
        """Return the address of a pod."""
        return f"10.244.{self.number}.{host}"

    def namespace(self, uid: str) -> str:
        """Return the name of a pod's network namespace."""
        return f"{self.bridge}-{uid[:8]}"

    def cable(self, uid: str) -> str:
        """Return the name of the end of a pod's cable that is plugged into the bridge."""
        return f"rr{self.number}-{uid[:8]}"


def take_network() -> Network:
    """Make a bridge that nobody else has, after removing those whose owners died.

    The kernel hands out each name once, so two rigs that start together can't take the same.

    :raises ServiceError: if there is none left.
    """
    _remove_abandoned()
    for number in random.SystemRandom().sample(_SUBNETS, len(_SUBNETS)):
        network = Network(number)
        if _make_bridge(network):
            return network
    raise ServiceError(f"{len(_SUBNETS)} rigs run on this machine, and there is no room for more")


def remove_network(bridge: str) -> None:
    """Remove the bridge and all that its pods have."""
    remove_pods(bridge)
    _ip("link", "delete", bridge)


def remove_pods(bridge: str) -> None:
    """Remove the namespaces, the names and the shared memory of all pods on a bridge."""
    for name in _namespaces():
        if name.startswith(f"{bridge}-"):
            _ip("netns", "delete", name)
    for parent in (NAMES, SHARED_MEMORY):
        for leftover in parent.glob(f"{bridge}-*"):
            shutil.rmtree(leftover, ignore_errors=True)


def _make_bridge(network: Network) -> bool:
    if not _ip("link", "add", network.bridge, "type", "bridge"):
        return False
    # Until it has an owner, nobody takes it for abandoned.
    _ip("link", "set", network.bridge, "alias", owner())
    is_ready = _ip("address", "add", f"{network.gateway}/24", "dev", network.bridge) and _ip(
        "link", "set", network.bridge, "up"
    )
    if not is_ready:
        remove_network(network.bridge)
    return is_ready


def owner() -> str:
    """Return what tells this process from all others that this machine has had since its start."""
    return f"pid {os.getpid()} since {_started(os.getpid())}"


def _remove_abandoned() -> None:
    for bridge, owner in _bridges():
        pid = int(owner.split()[1]) if owner.startswith("pid ") else None
        if pid is not None and owner != f"pid {pid} since {_started(pid)}":
            remove_network(bridge)


def _started(pid: int) -> str:
    """When a process began, in ticks since boot: what tells it from a later one of its pid."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return "never"


def _bridges() -> Iterator[tuple[str, str]]:
    told = subprocess.run(
        ["ip", "-json", "link", "show", "type", "bridge"],
        capture_output=True,
        text=True,
        check=True,
    )
    for link in json.loads(told.stdout or "[]"):
        if link.get("ifname", "").startswith(_PREFIX):
            yield link["ifname"], link.get("ifalias", "")


def _namespaces() -> list[str]:
    folder = Path("/run/netns")
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _ip(*arguments: str) -> bool:
    return not subprocess.run(["ip", *arguments], capture_output=True, check=False).returncode


if __name__ == "__main__":
    # Somebody may have removed it and taken its name already.
    if (sys.argv[1], sys.argv[2]) in _bridges():
        remove_network(sys.argv[1])
