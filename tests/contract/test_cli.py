"""The commands on a real Ray: that it is what ``airflow ray check`` finds, and a job from begin to end."""

from __future__ import annotations

import json
import uuid

import pytest
from airflow.cli.cli_parser import get_parser
from airflow.providers_manager import ProvidersManager

from airflow_synapse.cli import exits
from local_services.ray_head import RayHead

pytestmark = pytest.mark.skipif(
    not hasattr(ProvidersManager, "cli_command_functions"),
    reason="Airflow 3.1 takes no commands from providers",
)


@pytest.fixture
def ray_default(ray_head: RayHead, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"conn_type": "ray", "host": ray_head.dashboard_url}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_DEFAULT", json.dumps(connection))
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")


def run(*words: str) -> int:
    args = get_parser().parse_args(["ray", *words])
    try:
        args.func(args)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.usefixtures("ray_default")
def test_check_finds_a_real_ray_good(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All steps are ok on a cluster of one node, and the test job does not come back as a phantom."""
    monkeypatch.setenv("AIRFLOW__RAY__DEPLOYMENT", "prod")
    code = run("check", "-o", "json", "--job-timeout", "90")

    found = json.loads(capsys.readouterr().out)
    assert (code, {row["verdict"] for row in found}) == (exits.OK, {"ok"}), found
    run("list", "-o", "json", "--limit", "0")
    ids = [job["job_id"] for job in json.loads(capsys.readouterr().out)]
    assert not [job_id for job_id in ids if job_id.startswith("airflow-synapse-check-")]


@pytest.mark.usefixtures("ray_default")
def test_job_from_begin_to_end(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A job's log comes byte for byte, its end is the exit code, and stop is confirmed."""
    first, second = (f"cli-{uuid.uuid4().hex}" for _ in range(2))

    assert run("submit", "--job-id", first, "--wait", "--", r"printf '\377 odd\n'; exit 3") == 3
    capfdbinary.readouterr()
    assert run("logs", first) == exits.OK
    lines = capfdbinary.readouterr().out.splitlines(keepends=True)
    assert b"\xff odd\n" in lines
    assert run("logs", "--tail", "1", first) == exits.OK
    assert capfdbinary.readouterr().out == lines[-1]

    assert run("submit", "--job-id", second, "--", "sleep", "600") == exits.OK
    assert capfdbinary.readouterr().out == f"{second}\n".encode()
    assert run("stop", second) == exits.OK
    assert run("logs", "--follow", second) == exits.STOPPED
