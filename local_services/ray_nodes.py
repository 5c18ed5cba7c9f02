"""Further nodes of a Ray cluster on this machine, as apart from the head as another machine is.

Each has a network, a mount and a PID namespace of its own. Without the second it would share the head's
log folder and object store; without the third its drivers would attach to the head's raylet, which
``ray.init`` finds among the machine's processes.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType

from local_services.processes import ServiceError, ServiceProcess
from local_services.ray_head import RayHead

_OBJECT_STORE_BYTES = 100 * 1024 * 1024

_PORTS = {
    "object-manager-port": 30001,
    "node-manager-port": 30002,
    "dashboard-agent-listen-port": 30003,
    "dashboard-agent-grpc-port": 30004,
    "runtime-env-agent-port": 30005,
    "metrics-export-port": 30006,
}
"""All are free in a network of its own. Ray gives up a raylet if its agents take long to choose some."""

_START = """
set -e
mount -t tmpfs tmpfs "$1"
mount -t tmpfs tmpfs /dev/shm
shift
exec "$@"
"""


def why_not() -> str:
    """Return why this machine can't have such nodes, empty if it can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    missing = [tool for tool in ("ip", "unshare", "mount") if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


class Bridge:
    """A network of this machine alone, to which nodes are connected. Use it as a context manager.

    :raises ServiceError: where that is not allowed; see :func:`why_not`.
    """

    def __init__(self) -> None:
        self.name = f"ray{secrets.token_hex(4)}"
        self._net = f"10.{secrets.randbelow(56) + 200}.{secrets.randbelow(256)}"
        self._hosts = iter(range(2, 255))

    @property
    def ip(self) -> str:
        """This machine's own address in the network, which is the head's."""
        return f"{self._net}.1"

    def __enter__(self) -> Bridge:
        if reason := why_not():
            raise ServiceError(f"no further Ray nodes on this machine: {reason}")
        _ip("link", "add", self.name, "type", "bridge")
        _ip("addr", "add", f"{self.ip}/24", "dev", self.name)
        _ip("link", "set", self.name, "up")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _ip("link", "delete", self.name)

    @contextmanager
    def place(self) -> Iterator[tuple[str, str]]:
        """Yield a network namespace that is connected, and the address that it has."""
        ip = f"{self._net}.{next(self._hosts)}"
        space = f"{self.name}-{ip.rpartition('.')[2]}"
        link = f"v{secrets.token_hex(5)}"
        with ExitStack() as stack:
            _ip("netns", "add", space)
            stack.callback(_ip, "netns", "delete", space)
            _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", link, "master", self.name, "up")
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "addr", "add", f"{ip}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            yield space, ip


class RayNode:
    """A node that joins a head. Use it as a context manager.

    :param head: The head, at :attr:`Bridge.ip`.
    :param bridge: The network of both.
    :param num_cpus: CPUs that the node says it has.
    :param resources: Further resources that the node says it has.
    """

    def __init__(
        self,
        head: RayHead,
        bridge: Bridge,
        *,
        num_cpus: int = 2,
        resources: Mapping[str, float] | None = None,
        start_timeout: float = 90.0,
    ) -> None:
        self._head = head
        self._bridge = bridge
        self._num_cpus = num_cpus
        self._resources = dict(resources or {})
        self._start_timeout = start_timeout
        self._stack = ExitStack()
        self._process: ServiceProcess | None = None
        self.ip = ""

    def __enter__(self) -> RayNode:
        with ExitStack() as stack:
            space, self.ip = stack.enter_context(self._bridge.place())
            log = self._head.temp_dir / f"node-{self.ip}.log"
            self._process = ServiceProcess(
                f"Ray node {self.ip}",
                command=self._command(space),
                env=self._head.environment(),
                log_path=log,
            )
            stack.callback(self.kill)
            try:
                self._join(self._process)
            except ServiceError:
                # A busy machine may take longer than Ray allows its own processes.
                self._process.kill()
                self._join(self._process)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def kill(self) -> None:
        """Let the node die at once, as in a power cut, with all its jobs and files."""
        if self._process is not None:
            self._process.kill()

    def _join(self, process: ServiceProcess) -> None:
        process.start()
        process.wait_until(self._is_alive, what="it to join", timeout=self._start_timeout)

    def _command(self, space: str) -> list[str]:
        python = self._head.python
        options = {
            **{name: str(port) for name, port in _PORTS.items()},
            "address": self._head.gcs_address,
            "node-ip-address": self.ip,
            "num-cpus": str(self._num_cpus),
            "resources": json.dumps(self._resources),
            "object-store-memory": str(_OBJECT_STORE_BYTES),
        }
        return [
            *("ip", "netns", "exec", space),
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("sh", "-c", _START, "sh", str(self._head.temp_dir)),
            *(str(python), "-m", "ray.scripts.scripts", "start", "--block"),
            *(f"--{name}={value}" for name, value in options.items()),
        ]

    def _is_alive(self) -> bool:
        return self.ip in alive_nodes(self._head)


def alive_nodes(head: RayHead) -> dict[str, str]:
    """Return the nodes that the head takes for alive: the ID of each, by its address."""
    request = urllib.request.Request(f"{head.dashboard_url}/api/v0/nodes?detail=1")
    if head.auth_token:
        request.add_header("Authorization", f"Bearer {head.auth_token}")
    with urllib.request.urlopen(request, timeout=10) as response:
        nodes = json.load(response)["data"]["result"]["result"]
    return {node["node_ip"]: node["node_id"] for node in nodes if node["state"] == "ALIVE"}


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
