"""A real Airflow in a temporary home: every component a process of its own that may be killed."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from local_services.airflow_api import AirflowApi
from local_services.guardian import watch_folder
from local_services.ports import free_ports
from local_services.processes import Progress, ServiceError, ServiceProcess, environment_without

USERNAME = "admin"
PASSWORD = "admin"

_STRANGERS = ("AIRFLOW", "RAY_", "PYTEST_", "COV_", "PYTHONPATH", "VIRTUAL_ENV", "SYNAPSE_")
"""What a deployment must not inherit from the process that happens to start it."""

_SIMPLE_AUTH = "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"


class AirflowDeployment:
    """Scheduler, API server, DAG processor and triggerer over SQLite. Use it as a context manager.

    :param dags_folders: Where DAGs are, each a bundle named for its folder.
    :param connections: By connection id, as URI or as the fields of a connection.
    :param config: Airflow configuration by ``AIRFLOW__SECTION__KEY``, and other environment.
    :param parallelism: How many tasks may run at once.
    :param serve_logs: Whether scheduler and triggerer serve their logs, as on other machines they
        have to. Here the API server reads the files anyway.
    :param python: The interpreter Airflow runs from.
    :param on_progress: Told what is waited for.
    :param start_timeout: Seconds a start may take.
    """

    def __init__(
        self,
        *dags_folders: Path,
        connections: Mapping[str, str | Mapping[str, Any]] | None = None,
        config: Mapping[str, str] | None = None,
        parallelism: int = 4,
        serve_logs: bool = False,
        python: str | Path = sys.executable,
        on_progress: Progress | None = None,
        start_timeout: float = 180.0,
    ) -> None:
        self._dags_folders = dags_folders
        self._connections = dict(connections or {})
        self._config = dict(config or {})
        self._parallelism = parallelism
        self._log_server = () if serve_logs else ("--skip-serve-logs",)
        self._python = Path.cwd() / python
        self._on_progress = on_progress or (lambda _: None)
        self._start_timeout = start_timeout
        self._home: Path | None = None
        self._env: dict[str, str] = {}
        self.username = USERNAME
        self.password = PASSWORD
        self.base_url = ""
        self.step_seconds: dict[str, float] = {}

    # The components; each can be killed, stopped and started again.

    api_server: ServiceProcess
    scheduler: ServiceProcess
    dag_processor: ServiceProcess
    triggerer: ServiceProcess
    api: AirflowApi

    @property
    def home(self) -> Path:
        """AIRFLOW_HOME, deleted at the end."""
        if self._home is None:
            raise ServiceError("the Airflow deployment has not been started")
        return self._home

    @property
    def logs_dir(self) -> Path:
        """Where the components' own logs are, e.g. ``triggerer.log``."""
        return self.home / "components"

    @property
    def env(self) -> dict[str, str]:
        """The environment of every component."""
        return dict(self._env)

    def __enter__(self) -> AirflowDeployment:
        self._home = Path(tempfile.mkdtemp(prefix="airflow-"))
        watch_folder(self._home)
        self.logs_dir.mkdir()
        try:
            self._prepare()
            self._start()
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
        """Kill every component and task, and delete the home."""
        for component in self._components():
            component.kill()
        if hasattr(self, "api"):
            self.api.close()
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)

    def cli(self, *arguments: str, timeout: float = 120.0) -> str:
        """Run ``airflow …`` in the deployment's environment and return what it printed.

        :raises ServiceError: if it fails, with all it said.
        """
        done = subprocess.run(
            [*self._airflow, *arguments],
            env=self._env,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode != 0:
            raise ServiceError(f"airflow {' '.join(arguments)}: {done.stderr}{done.stdout}")
        return done.stdout

    def wait_healthy(self, timeout: float = 60.0) -> None:
        """Return once all four components say that they are well.

        :raises ServiceError: if one has ended, or after ``timeout`` seconds.
        """
        self._wait(self._is_healthy, what="all components to be healthy", timeout=timeout)

    def wait_for_dag(self, dag_id: str, timeout: float = 60.0) -> None:
        """Return once the DAG can be triggered.

        :raises ServiceError: if it can't after ``timeout`` seconds, with the import errors.
        """
        try:
            self._wait(lambda: self.api.has_dag(dag_id), what=f"DAG {dag_id}", timeout=timeout)
        except ServiceError as exc:
            raise ServiceError(f"{exc}\nimport errors: {self.api.import_errors()}") from exc

    # Starting

    @property
    def _airflow(self) -> list[str]:
        return [str(self._python), "-m", "airflow"]

    def _components(self) -> list[ServiceProcess]:
        names = ("scheduler", "triggerer", "dag_processor", "api_server")
        return [getattr(self, name) for name in names if hasattr(self, name)]

    def _prepare(self) -> None:
        port, worker_logs, trigger_logs = free_ports(3)
        self.base_url = f"http://127.0.0.1:{port}"
        passwords = self.home / "passwords.json"
        passwords.write_text(json.dumps({self.username: self.password}))
        self._env = {
            **environment_without(*_STRANGERS),
            **self._settings(port, worker_logs, trigger_logs, passwords),
            **{_connection_variable(name): _text(c) for name, c in self._connections.items()},
            **self._config,
        }
        self.api = AirflowApi(self.base_url, username=self.username, password=self.password)

    def _settings(
        self, port: int, worker_logs: int, trigger_logs: int, passwords: Path
    ) -> dict[str, str]:
        path = os.pathsep.join([str(self._python.parent), os.environ.get("PATH", os.defpath)])
        settings = {
            "core__executor": "LocalExecutor",
            "core__parallelism": str(self._parallelism),
            "core__load_examples": "False",
            "core__dags_folder": str(self.home / "no-dags"),
            "core__auth_manager": _SIMPLE_AUTH,
            "core__simple_auth_manager_users": f"{self.username}:admin",
            "core__simple_auth_manager_passwords_file": str(passwords),
            "core__execution_api_server_url": f"{self.base_url}/execution/",
            "core__fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "database__sql_alchemy_conn": f"sqlite:///{self.home}/airflow.db",
            # We migrate it ourselves, while the API server is being imported.
            "database__check_migrations": "False",
            "api__host": "127.0.0.1",
            "api__port": str(port),
            "api__base_url": self.base_url,
            "api__workers": "1",
            "api__secret_key": secrets.token_hex(16),
            "api_auth__jwt_secret": secrets.token_hex(32),
            "logging__base_log_folder": str(self.home / "logs"),
            "logging__worker_log_server_port": str(worker_logs),
            "logging__trigger_log_server_port": str(trigger_logs),
            "dag_processor__dag_bundle_config_list": json.dumps(self._bundles()),
            "dag_processor__refresh_interval": "3",
            "dag_processor__min_file_process_interval": "5",
            "dag_processor__bundle_refresh_check_interval": "1",
            "scheduler__scheduler_idle_sleep_time": "0.3",
            # Sooner than by default (300 s), a killed worker's task gets its next try.
            "scheduler__task_instance_heartbeat_timeout": "30",
            "usage_data_collection__enabled": "False",
        }
        variables = {f"AIRFLOW__{name.upper()}": value for name, value in settings.items()}
        return {**variables, "AIRFLOW_HOME": str(self.home), "PATH": path}

    def _bundles(self) -> list[dict[str, Any]]:
        return [
            {
                "name": f"{folder.name}-{number}" if number else folder.name,
                "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                "kwargs": {"path": str(folder.resolve()), "refresh_interval": 3},
            }
            for number, folder in enumerate(self._dags_folders)
        ]

    def _start(self) -> None:
        started = time.monotonic()
        self.api_server = self._component("api-server")
        self.dag_processor = self._component("dag-processor")
        self.scheduler = self._component("scheduler", *self._log_server)
        self.triggerer = self._component("triggerer", *self._log_server)
        # The API server, which takes longest to import, asks no database before it answers.
        self.api_server.start()
        self._on_progress("Airflow: creating its database")
        self.cli("db", "migrate", timeout=self._start_timeout)
        self.step_seconds["database"] = time.monotonic() - started
        for component in (self.dag_processor, self.scheduler, self.triggerer):
            component.start()
        self._on_progress(f"Airflow at {self.base_url}: waiting for its API server")
        self._wait(self._answers, what="its API server", timeout=self._start_timeout)
        self.step_seconds["api server"] = time.monotonic() - started
        self._on_progress(f"Airflow at {self.base_url}: waiting for all components to be healthy")
        self.wait_healthy(self._start_timeout)
        self.step_seconds["healthy"] = time.monotonic() - started

    def _component(self, name: str, *arguments: str) -> ServiceProcess:
        return ServiceProcess(
            f"Airflow {name}",
            command=[*self._airflow, name, *arguments],
            env=self._env,
            log_path=self.logs_dir / f"{name}.log",
            cwd=self.home,
        )

    def _wait(self, is_ready: Any, *, what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not is_ready():
            late = time.monotonic() > deadline
            for component in self._components():
                if late or not component.is_running:
                    raise ServiceError(
                        f"Airflow: waited for {what}; {component.name} says:\n{component.log_tail()}"
                    )
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            self.api.health()
        except httpx.HTTPError:
            return False
        return True

    def _is_healthy(self) -> bool:
        try:
            return set(self.api.health().values()) == {"healthy"}
        except httpx.HTTPError:
            return False


def _connection_variable(conn_id: str) -> str:
    return f"AIRFLOW_CONN_{conn_id.upper()}"


def _text(connection: str | Mapping[str, Any]) -> str:
    return connection if isinstance(connection, str) else json.dumps(connection)
