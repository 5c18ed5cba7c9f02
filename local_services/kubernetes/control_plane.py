"""The programs of the control plane, as processes that wait for one another."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from local_services.kubernetes.certificates import ISSUER, Certificates
from local_services.kubernetes.network import Network
from local_services.kubernetes.programs import KUBERNETES_VERSION, Programs
from local_services.processes import ServiceProcess

API_PORT = 6443
NODE = "rig-node"
SERVICE_ADDRESS = "10.96.0.1"

_ETCD_PORT, _ETCD_PEER_PORT = 2379, 2380
_CONTROLLERS_PORT, _SCHEDULER_PORT, _METRICS_PORT, _HEALTH_PORT = 10257, 10259, 8080, 8082


class ControlPlane:
    """The commands of one rig. Everything listens on the bridge's address, so no port can clash.

    :param folder: For data and logs.
    """

    def __init__(
        self, programs: Programs, *, folder: Path, network: Network, certificates: Certificates
    ) -> None:
        self._programs = programs
        self._folder = folder
        self._network = network
        self._certificates = certificates

    def health_urls(self) -> dict[str, str]:
        """Return where each program says that it is ready, by its name."""
        at = f"https://{self._network.gateway}"
        return {
            "kube-apiserver": f"{at}:{API_PORT}/readyz",
            "kube-controller-manager": f"{at}:{_CONTROLLERS_PORT}/healthz",
            "kube-scheduler": f"{at}:{_SCHEDULER_PORT}/healthz",
            "kuberay-operator": f"http://{self._network.gateway}:{_HEALTH_PORT}/readyz",
        }

    def etcd(self) -> ServiceProcess:
        """Return the database, which need not outlive a power cut."""
        clients = f"http://{self._network.gateway}:{_ETCD_PORT}"
        peers = f"http://{self._network.gateway}:{_ETCD_PEER_PORT}"
        return self._part(
            "etcd",
            {
                "name": "rig",
                "data-dir": str(self._folder / "etcd"),
                "listen-client-urls": clients,
                "advertise-client-urls": clients,
                "listen-peer-urls": peers,
                "initial-advertise-peer-urls": peers,
                "initial-cluster": f"rig={peers}",
                "unsafe-no-fsync": "true",
                "log-level": "warn",
            },
        )

    def api_server(self) -> ServiceProcess:
        """Return the API server."""
        certificates, address = self._certificates, self._network.gateway
        return self._part(
            "kube-apiserver",
            {
                "etcd-servers": f"http://{address}:{_ETCD_PORT}",
                "bind-address": address,
                "advertise-address": address,
                "secure-port": str(API_PORT),
                "tls-cert-file": str(certificates.server),
                "tls-private-key-file": str(certificates.server_key),
                "token-auth-file": str(certificates.users),
                "authorization-mode": "RBAC",
                "service-account-issuer": ISSUER,
                "service-account-key-file": str(certificates.accounts_public_key),
                "service-account-signing-key-file": str(certificates.accounts_key),
                "service-cluster-ip-range": f"{SERVICE_ADDRESS}/24",
                "kubelet-preferred-address-types": "InternalIP",
                "event-ttl": "1h",
            },
        )

    def controller_manager(self) -> ServiceProcess:
        """Return the controllers, among them garbage collection."""
        return self._part(
            "kube-controller-manager",
            {
                **self._as_user("controllers"),
                "secure-port": str(_CONTROLLERS_PORT),
                "service-account-private-key-file": str(self._certificates.accounts_key),
                "root-ca-file": str(self._certificates.ca),
                "use-service-account-credentials": "true",
            },
        )

    def scheduler(self) -> ServiceProcess:
        """Return the scheduler."""
        return self._part(
            "kube-scheduler", {**self._as_user("scheduler"), "secure-port": str(_SCHEDULER_PORT)}
        )

    def operator(self) -> ServiceProcess:
        """Return KubeRay."""
        at = self._network.gateway
        command = [
            str(self._programs.kuberay_operator),
            # It reaches Ray as we do: no service has an address here.
            "-use-kubernetes-proxy",
            # It would end itself when the API server is away for ten seconds.
            "-enable-leader-election=false",
            f"-metrics-addr={at}:{_METRICS_PORT}",
            f"-health-probe-bind-address={at}:{_HEALTH_PORT}",
        ]
        env = {"KUBECONFIG": str(self._certificates.kubeconfig("operator"))}
        return self._service("kuberay-operator", command, env)

    def kubelet(self, images: Mapping[str, str]) -> ServiceProcess:
        """Return the node, which is ours."""
        command = [sys.executable, "-m", "local_services.kubernetes.kubelet"]
        options = {
            "name": NODE,
            "network": str(self._network.number),
            "api-port": str(API_PORT),
            "folder": str(self._folder / "pods"),
            "certificates": str(self._certificates.folder),
            "images": json.dumps(images),
            "version": KUBERNETES_VERSION,
        }
        env = {"PYTHONPATH": str(Path(__file__).parents[2])}
        return self._service("kubelet", command + _flags(options), env)

    def _as_user(self, user: str) -> dict[str, str]:
        config = str(self._certificates.kubeconfig(user))
        names = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        return {
            **dict.fromkeys(names, config),
            "bind-address": self._network.gateway,
            "leader-elect": "false",
            # These two are asked for their health before anybody could have told them of us.
            "authorization-always-allow-paths": "/healthz,/readyz,/livez",
        }

    def _part(self, name: str, options: Mapping[str, str]) -> ServiceProcess:
        return self._service(name, [str(self._programs.control_plane), name, *_flags(options)], {})

    def _service(self, name: str, command: list[str], env: Mapping[str, str]) -> ServiceProcess:
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}
        return ServiceProcess(
            name,
            command=command,
            env={**kept, **env},
            log_path=self._folder / f"{name}.log",
            cwd=self._folder,
        )


def _flags(options: Mapping[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]
