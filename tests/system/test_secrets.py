"""What users keep secret is nowhere in what a run leaves behind, however it ends."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_services.airflow_deployment import AirflowDeployment
from local_services.ray_head import RayHead

pytestmark = pytest.mark.timeout(420)

TOKEN = "planted-bearer-4711"
WRONG_TOKEN = "planted-wrong-4712"
HEADER = "planted-header-4713"
COOKIE = "planted-cookie-4714"
ENV = "planted-env-4715"
SECRETS = (TOKEN, WRONG_TOKEN, HEADER, COOKIE, ENV)

ENDS = {
    "command": "failed",
    "mapped[0]": "success",
    "action": "success",
    "bad_action": "failed",
    "bad_env": "failed",
    "bad_runtime_env": "failed",
    "wrong_token": "failed",
    "unreachable": "failed",
    "sense": "failed",
}


@pytest.fixture(scope="module")
def guarded_head() -> Iterator[RayHead]:
    """A Ray that asks for the planted token."""
    with RayHead(auth_token=TOKEN) as head:
        yield head


@pytest.fixture(scope="module", params=["triggerer", "worker"])
def secret_run(
    request: pytest.FixtureRequest, airflow: AirflowDeployment, guarded_head: RayHead
) -> tuple[str, str]:
    """A run of tasks that were given secrets, in one place or the other."""
    extra = json.dumps({"headers": {"X-Proxy": HEADER}, "cookies": {"session": COOKIE}})
    hosts = {
        "ray_guarded": (guarded_head.dashboard_url, TOKEN),
        "ray_wrong_token": (guarded_head.dashboard_url, WRONG_TOKEN),
        "ray_nowhere": ("http://127.0.0.1:1", TOKEN),
    }
    if request.param == "triggerer":
        for conn_id, (host, password) in hosts.items():
            airflow.api.post(
                "/connections",
                {
                    "connection_id": conn_id,
                    "conn_type": "ray",
                    "host": host,
                    "password": password,
                    "extra": extra,
                },
            )
        airflow.api.post("/variables", {"key": "planted", "value": ENV})
    dag_id = f"keeps_secrets_in_{request.param}"
    airflow.wait_for_dag(dag_id)
    airflow.api.unpause(dag_id)
    run_id = airflow.api.trigger(dag_id)
    airflow.api.wait_run(dag_id, run_id, timeout=300)
    return dag_id, run_id


def test_tasks_ended_as_they_should(
    airflow: AirflowDeployment, secret_run: tuple[str, str]
) -> None:
    """The tasks had their secrets and came to the ends that this is about."""
    states = airflow.api.task_states(*secret_run)
    command = json.dumps(airflow.api.task_log_entries(*secret_run, "command"))

    assert states == ENDS
    assert "exit code 3" in command


def test_airflow_keeps_no_secret(airflow: AirflowDeployment, secret_run: tuple[str, str]) -> None:
    """Neither logs nor XComs, rendered templates, trigger rows or error texts hold a secret."""
    files = [path for path in airflow.home.rglob("*") if path.is_file()]
    leaks = [
        f"{path.relative_to(airflow.home)}: {secret}: {_around(path, secret)}"
        for path in files
        for secret in SECRETS
        if secret.encode() in path.read_bytes()
    ]

    assert leaks == []
    dag_id = secret_run[0].encode()
    assert sum(dag_id in path.read_bytes() for path in files) > 2  # what is there is found


def test_ray_tells_a_secret_only_as_environment(
    guarded_head: RayHead, secret_run: tuple[str, str]
) -> None:
    """Of all that Ray's API returns, only the jobs' own environment holds what was sent as such."""
    request = urllib.request.Request(
        f"{guarded_head.dashboard_url}/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        jobs = json.load(answer)

    assert len(jobs) >= 2
    for job in jobs:
        variables = (job.get("runtime_env") or {}).pop("env_vars", {})
        assert not any(secret in json.dumps(job) for secret in SECRETS)
        assert not any(s in json.dumps(variables) for s in SECRETS if s != ENV)


def _around(path: Path, secret: str) -> bytes:
    content = path.read_bytes()
    place = content.index(secret.encode())
    return content[max(0, place - 200) : place + 100]
