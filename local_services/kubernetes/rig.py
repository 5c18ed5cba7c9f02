"""A Kubernetes with KubeRay on this machine, ready to take Ray clusters when it is entered."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import ssl
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from local_services.guardian import forget_command, watch_command, watch_folder
from local_services.kubernetes.certificates import write_certificates
from local_services.kubernetes.cluster_api import ClusterApi, ClusterApiError
from local_services.kubernetes.control_plane import API_PORT, NODE, SERVICE_ADDRESS, ControlPlane
from local_services.kubernetes.images import images
from local_services.kubernetes.network import Network, owner, remove_network, take_network
from local_services.kubernetes.programs import Programs, build_programs
from local_services.kubernetes.requirements import missing
from local_services.processes import Progress, ServiceError, ServiceProcess

NAMESPACE = "ray"
"""A namespace that is there when the rig is ready."""

_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class KubernetesRig:
    """A Kubernetes of real parts whose one node runs containers as processes.

    Use it as a context manager. Whatever ends this process, be it SIGKILL, nothing stays behind.

    :param on_progress: Told what is waited for.
    :param start_timeout: Seconds that a start may take, without the building of programs.
    """

    def __init__(
        self, *, on_progress: Progress | None = None, start_timeout: float = 240.0
    ) -> None:
        self.images: Mapping[str, str] = images()
        self._on_progress = on_progress or (lambda _: None)
        self._start_timeout = start_timeout
        self._undo = contextlib.ExitStack()
        self._services: dict[str, ServiceProcess] = {}

    @property
    def url(self) -> str:
        """The API server's URL."""
        return f"https://{self.network.gateway}:{API_PORT}"

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of somebody who may do everything."""
        return self.certificates.kubeconfig("admin")

    @property
    def api(self) -> ClusterApi:
        """The API server, for somebody who may do everything."""
        return self.api_as(self.certificates.token("admin"))

    @property
    def facts(self) -> dict[str, Any]:
        """What somebody needs to use it."""
        return {
            "kubeconfig": str(self.kubeconfig),
            "namespace": NAMESPACE,
            "images": list(self.images),
            "node": NODE,
        }

    @property
    def services(self) -> Mapping[str, ServiceProcess]:
        """Its programs by name, to be killed and started."""
        return self._services

    def api_as(self, token: str) -> ClusterApi:
        """Return the API server as the owner of a token sees it."""
        return ClusterApi(self.url, token=token, ca=self.certificates.ca)

    def account_token(self, name: str, *, namespace: str = NAMESPACE, life: float = 3600) -> str:
        """Return a token of a ServiceAccount that is good for ``life`` seconds, however few."""
        found = self.api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}")
        return self.certificates.account_token(
            namespace=namespace, name=name, uid=found["metadata"]["uid"], life=life
        )

    def restart_api_server(self) -> None:
        """Kill the API server and return when it answers again."""
        self.start_again("kube-apiserver")

    def start_again(self, name: str) -> None:
        """Start a program again, and return when it is ready. What is left of it is killed."""
        self._services[name].kill()
        self._services[name].start()
        self._wait_for_health(name)

    def __enter__(self) -> KubernetesRig:
        if lacks := missing():
            raise ServiceError(f"a Kubernetes can't be started here: {'; '.join(lacks)}")
        programs = build_programs(self._on_progress)
        try:
            self._start(programs)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill everything and remove it from this machine."""
        self._undo.close()

    def _start(self, programs: Programs) -> None:
        self.network = self._take_network()
        # Not in the folder for temporary files: paths of Unix sockets have 107 bytes at most.
        self.folder = Path(tempfile.mkdtemp(prefix="rig-", dir="/tmp"))
        watch_folder(self.folder)
        self._undo.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.certificates = write_certificates(
            self.folder / "certificates",
            server=self.url,
            addresses=[self.network.gateway, SERVICE_ADDRESS, "127.0.0.1"],
        )
        self._deadline = time.monotonic() + self._start_timeout
        self._start_services(programs)
        self._install_kuberay(programs)
        self._wait_until_usable()

    def _take_network(self) -> Network:
        network = take_network()
        remove = [
            sys.executable,
            "-m",
            "local_services.kubernetes.network",
            network.bridge,
            owner(),
        ]
        watch_command(network.bridge, remove)
        self._undo.callback(forget_command, network.bridge)
        self._undo.callback(remove_network, network.bridge)
        return network

    def _start_services(self, programs: Programs) -> None:
        parts = ControlPlane(
            programs, folder=self.folder, network=self.network, certificates=self.certificates
        )
        self._health_urls = parts.health_urls()
        self._run(parts.etcd())
        self._run(parts.api_server())
        self._wait_for_health("kube-apiserver")
        self._run(parts.controller_manager())
        self._run(parts.scheduler())
        self._operator = parts.operator()
        self._run(parts.kubelet(self.images))

    def _run(self, service: ServiceProcess) -> None:
        self._services[service.name] = service
        self._undo.callback(service.kill)
        service.start()

    def _install_kuberay(self, programs: Programs) -> None:
        names = []
        for path in programs.crds:
            definition = json.loads(path.read_text())
            names.append(definition["metadata"]["name"])
            self.api.create(_CRDS, definition)
        for name in names:
            self._wait(f"the CRD {name}", functools.partial(self._is_established, name))
        self._run(self._operator)

    def _wait_until_usable(self) -> None:
        for name in self._health_urls:
            self._wait_for_health(name)
        namespace = {"metadata": {"name": NAMESPACE}}
        self.api.create("/api/v1/namespaces", namespace)
        self._wait("its node", self._has_node)
        self._wait(
            "its first ServiceAccount",
            lambda: self.api.find(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"),
        )

    def _has_node(self) -> bool:
        node = self.api.find(f"/api/v1/nodes/{NODE}") or {}
        conditions = node.get("status", {}).get("conditions") or []
        # The controllers take a taint off a node some moments after it says that it is ready.
        is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        return is_ready and not node["spec"].get("taints")

    def _is_established(self, name: str) -> bool:
        conditions = self.api.get(f"{_CRDS}/{name}").get("status", {}).get("conditions") or []
        return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)

    def _wait_for_health(self, name: str) -> None:
        url, service = self._health_urls.get(name, ""), self._services[name]
        if url:
            is_healthy = functools.partial(self._is_healthy, url)
            service.wait_until(is_healthy, what="it was ready", timeout=self._start_timeout)

    def _is_healthy(self, url: str) -> bool:
        request = urllib.request.Request(url)
        request.add_header("Authorization", f"Bearer {self.certificates.token('admin')}")
        # The controllers and the scheduler sign their own certificates.
        trust = ssl._create_unverified_context()
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(request, timeout=5, context=trust) as response,
        ):
            return bool(response.status == 200)
        return False

    def _wait(self, what: str, is_there: Callable[[], Any]) -> None:
        self._on_progress(f"Kubernetes: waiting for {what}")
        while not _try(is_there):
            if time.monotonic() > self._deadline:
                told = "\n".join(service.log_tail(5) for service in self._services.values())
                raise ServiceError(f"waited {self._start_timeout:g} s for {what}:\n{told}")
            for service in self._services.values():
                if not service.is_running:
                    raise ServiceError(f"{service.name} has ended:\n{service.log_tail()}")
            time.sleep(0.1)


def _try(is_there: Callable[[], Any]) -> bool:
    """Ask an API server that may have just started, and so refuse what is fine."""
    try:
        return bool(is_there())
    except (ClusterApiError, OSError, json.JSONDecodeError):
        return False
