"""A real Ray head node on free ports, ready to take jobs when it is entered."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from types import TracebackType

from local_services.guardian import watch_folder
from local_services.ports import free_ports
from local_services.processes import Progress, ServiceError, ServiceProcess, environment_without

_STRANGERS = ("RAY_", "AIRFLOW", "PYTEST_", "COV_", "PYTHONPATH", "VIRTUAL_ENV", "SYNAPSE_")
"""What a cluster must not inherit from the process that happens to start it."""

_OBJECT_STORE_BYTES = 200 * 1024 * 1024


class RayHead:
    """A Ray cluster of one node. Use it as a context manager.

    :param python: The interpreter Ray runs from; its folder comes first on the jobs' PATH.
    :param num_cpus: CPUs that the node says it has.
    :param num_gpus: GPUs that the node says it has.
    :param resources: Further resources that the node says it has.
    :param auth_token: Ask every caller for this bearer token.
    :param node_ip: An address of this machine at which other nodes reach the head.
    :param env: Further environment of the head and of its jobs.
    :param on_progress: Told what is waited for.
    :param start_timeout: Seconds a start may take.
    """

    def __init__(
        self,
        *,
        python: str | Path = sys.executable,
        num_cpus: int = 4,
        num_gpus: int | None = None,
        resources: Mapping[str, float] | None = None,
        auth_token: str | None = None,
        node_ip: str = "127.0.0.1",
        env: Mapping[str, str] | None = None,
        on_progress: Progress | None = None,
        start_timeout: float = 90.0,
    ) -> None:
        self.auth_token = auth_token
        self.node_ip = node_ip
        # Not resolved: a virtual environment's python is a link to one that lacks its packages.
        self.python = Path.cwd() / python
        self._num_cpus = num_cpus
        self._num_gpus = num_gpus
        self._resources = dict(resources or {})
        self._extra_env = dict(env or {})
        self._on_progress = on_progress or (lambda _: None)
        self._start_timeout = start_timeout
        self._folder: Path | None = None
        self._ports: dict[str, int] = {}
        self._process: ServiceProcess | None = None

    @property
    def dashboard_url(self) -> str:
        """Where the dashboard and the Jobs API are, e.g. ``http://127.0.0.1:23456``."""
        return f"http://127.0.0.1:{self._ports['dashboard-port']}"

    @property
    def dashboard_port(self) -> int:
        """The port of :attr:`dashboard_url`; a restarted head keeps it."""
        return self._ports["dashboard-port"]

    @property
    def agent_url(self) -> str:
        """Where the head node's own agent listens, which serves its log files."""
        return f"http://{self.node_ip}:{self._ports['dashboard-agent-listen-port']}"

    @property
    def gcs_address(self) -> str:
        """Where other nodes join the cluster."""
        return f"{self.node_ip}:{self._ports['port']}"

    @property
    def temp_dir(self) -> Path:
        """The folder of all its sessions, deleted at the end."""
        if self._folder is None:
            raise ServiceError("the Ray head has not been started")
        return self._folder

    @property
    def logs_dir(self) -> Path:
        """The log folder of the running session, where the jobs' driver logs are, too."""
        return self.temp_dir / "session_latest" / "logs"

    @property
    def is_running(self) -> bool:
        """Whether the head's main process lives."""
        return self._process is not None and self._process.is_running

    @property
    def pid(self) -> int:
        """The pid of the head's main process."""
        if self._process is None:
            raise ServiceError("the Ray head has not been started")
        return self._process.pid

    def __enter__(self) -> RayHead:
        # Short, as the paths of Unix sockets below it may have 107 bytes only.
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        watch_folder(self._folder)
        try:
            self._start_on_free_ports()
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
        """Kill the head with all its jobs and delete its folder."""
        self.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """Let the node die at once, as in a power cut, with all its jobs."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        """Let the node die and come back on the same ports. It has forgotten its jobs."""
        self.kill()
        self.start()

    def start(self) -> None:
        """Start again after :meth:`kill`, on the same ports, and return when it takes jobs."""
        if self.is_running:
            raise ServiceError("the Ray head is running already")
        self._process = ServiceProcess(
            "Ray head",
            command=self._command(),
            env=self.environment(),
            log_path=self.temp_dir / "ray-start.log",
            cwd=self.temp_dir,
        )
        self._process.start()
        self._wait_until_ready(self._process)

    def _start_on_free_ports(self) -> None:
        self._choose_ports()
        try:
            self.start()
        except ServiceError:
            if self.is_running:
                raise
            # It ended by itself: somebody may have been quicker on one of the ports.
            self.kill()
            self._on_progress("Ray did not start; trying again on other ports")
            self._choose_ports()
            self.start()

    def _choose_ports(self) -> None:
        names = (
            "port",
            "dashboard-port",
            "ray-client-server-port",
            "object-manager-port",
            "node-manager-port",
            "dashboard-agent-listen-port",
            "dashboard-agent-grpc-port",
            "runtime-env-agent-port",
            "metrics-export-port",
        )
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))

    def _command(self) -> list[str]:
        command = [str(self.python), "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        options = {
            **{name: str(port) for name, port in self._ports.items()},
            "include-dashboard": "true",
            "node-ip-address": self.node_ip,
            # Workers take ports from the kernel, which can't collide with another cluster's.
            "min-worker-port": "0",
            "max-worker-port": "0",
            "num-cpus": str(self._num_cpus),
            "resources": json.dumps(self._resources),
            "object-store-memory": str(_OBJECT_STORE_BYTES),
            "temp-dir": str(self.temp_dir),
        }
        if self._num_gpus is not None:
            options["num-gpus"] = str(self._num_gpus)
        # The autoscaler's monitor has nothing to do on one node.
        return [*command, "--no-monitor", *(f"--{name}={value}" for name, value in options.items())]

    def environment(self) -> dict[str, str]:
        """Return the environment for processes of the cluster."""
        env = environment_without(*_STRANGERS)
        env["PATH"] = os.pathsep.join([str(self.python.parent), env.get("PATH", os.defpath)])
        env["RAY_USAGE_STATS_ENABLED"] = "0"
        # Unset would mean: on, if this user happens to have a token in the home folder.
        env["RAY_AUTH_MODE"] = "token" if self.auth_token else "disabled"
        if self.auth_token:
            env["RAY_AUTH_TOKEN"] = self.auth_token
        return {**env, **self._extra_env}

    def _wait_until_ready(self, process: ServiceProcess) -> None:
        deadline = time.monotonic() + self._start_timeout
        steps = {
            "its dashboard to answer": f"{self.dashboard_url}/api/version",
            "its Jobs API to answer": f"{self.dashboard_url}/api/jobs/",
            # Only an agent takes jobs; the dashboard is up seconds before it.
            "the agent that starts jobs": f"{self.agent_url}/api/local_raylet_healthz",
        }
        for what, url in steps.items():
            self._on_progress(f"Ray at {self.dashboard_url}: waiting for {what}")
            left = max(0.0, deadline - time.monotonic())
            process.wait_until(functools.partial(self._answers, url), what=what, timeout=left)

    def _answers(self, url: str) -> bool:
        headers = {"Authorization": f"Bearer {self.auth_token}"} if self.auth_token else {}
        request = urllib.request.Request(url, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                return bool(response.status == HTTPStatus.OK)
        except OSError:
            return False
