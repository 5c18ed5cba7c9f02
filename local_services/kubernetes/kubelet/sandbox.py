"""A pod's network namespace and the names that its processes can resolve."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Iterable, Iterator

from local_services.kubernetes.async_api import Seen
from local_services.kubernetes.kubelet.node import Node
from local_services.kubernetes.network import NAMES, Network

_SERVICE_LABEL = "kubernetes.io/service-name"
_FIRST, _LAST = 10, 249
_taken: set[str] = set()


class Sandbox:
    """The network namespace of one pod."""

    def __init__(self, pod: Seen, node: Node) -> None:
        metadata = pod["metadata"]
        self._node = node
        self._uid = metadata["uid"]
        self._pod_name, self._pod_namespace = metadata["name"], metadata["namespace"]
        self.name = node.network.namespace(self._uid)
        self.address = ""

    async def open(self, slices: Iterable[Seen]) -> None:
        """Make the namespace and join it to the bridge.

        :raises OSError: if this machine does not let us.
        """
        network, cable = self._node.network, self._node.network.cable(self._uid)
        self.address = _next_address(network)
        self.write_names(slices)
        for command in (
            f"netns add {self.name}",
            f"link add {cable} type veth peer name eth0 netns {self.name}",
            f"link set {cable} master {network.bridge} up",
            f"-n {self.name} address add {self.address}/24 dev eth0",
            f"-n {self.name} link set eth0 up",
            f"-n {self.name} link set lo up",
            f"-n {self.name} route add default via {network.gateway}",
        ):
            await _ip(command)

    def write_names(self, slices: Iterable[Seen]) -> None:
        """Write the addresses of all services, for who resolves a name from now on."""
        folder = NAMES / self.name
        folder.mkdir(parents=True, exist_ok=True)
        # Refused at once. gRPC asks DNS beside the hosts file, and waits long for one that is silent.
        (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        text = "\n".join([*self._own_names(), *self._service_names(slices)]) + "\n"
        path = folder / "hosts"
        # In place: the namespaces of running containers have this very file mounted.
        with path.open("r+" if path.exists() else "w") as hosts:
            hosts.write(text)
            hosts.truncate()

    async def close(self) -> None:
        """Remove the namespace; its processes must have ended."""
        for command in (
            f"link delete {self._node.network.cable(self._uid)}",
            f"netns delete {self.name}",
        ):
            try:
                await _ip(command)
            except OSError as exc:
                print(f"sandbox {self.name}: {exc}", flush=True)
        shutil.rmtree(NAMES / self.name, ignore_errors=True)
        _taken.discard(self.address)

    def _own_names(self) -> list[str]:
        gateway = self._node.network.gateway
        return [
            "127.0.0.1 localhost",
            f"{self.address} {self._pod_name}",
            f"{gateway} kubernetes.default.svc.cluster.local kubernetes.default.svc kubernetes.default",
        ]

    def _service_names(self, slices: Iterable[Seen]) -> Iterator[str]:
        for endpoints in slices:
            metadata = endpoints["metadata"]
            service = (metadata.get("labels") or {}).get(_SERVICE_LABEL)
            if not service or (metadata["namespace"], service) == ("default", "kubernetes"):
                continue
            names = _names(service, metadata["namespace"], seen_from=self._pod_namespace)
            for endpoint in endpoints.get("endpoints") or []:
                if endpoint.get("conditions", {}).get("ready") is not False:
                    yield f"{endpoint['addresses'][0]} {names}"


def _names(service: str, namespace: str, *, seen_from: str) -> str:
    names = [f"{service}.{namespace}{rest}" for rest in (".svc.cluster.local", ".svc", "")]
    return " ".join(names + [service] * (namespace == seen_from))


def _next_address(network: Network) -> str:
    """An address is not used again soon: who still knows its last owner would reach the new one."""
    address = next(a for host in _hosts if (a := network.address(host)) not in _taken)
    _taken.add(address)
    return address


_hosts = itertools.cycle(range(_FIRST, _LAST + 1))


async def _ip(command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "ip",
        *command.split(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise OSError(f"ip {command}: {said.decode(errors='replace').strip()}")
