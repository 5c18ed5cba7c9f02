"""``airflow ray check`` and the diagnosis behind it."""

from __future__ import annotations

import json
import socket

import pytest

from airflow_synapse.cli import exits
from airflow_synapse.rayjobs import diagnosis, ray_versions
from airflow_synapse.rayjobs.client.dashboard import DashboardApi
from airflow_synapse.rayjobs.job.results import result_file
from airflow_synapse.rayjobs.ray_versions import OLDEST_RAY, is_too_old
from tests.cli.conftest import connect
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer
from tests.support.stub_dashboard import encode
from tests.support.stub_jobs import NEVER, runtime_env_failure

JOB, MARKER = "check-me", "the-marker"


@pytest.fixture
def cluster(stub, monkeypatch):
    """A stub whose test job does what a real one does."""
    monkeypatch.setenv("AIRFLOW__RAY__DEPLOYMENT", "prod")
    monkeypatch.setattr(diagnosis, "_new_names", lambda: (JOB, MARKER))
    monkeypatch.setattr(DashboardApi, "settles_in", 0.0)
    stub.script(JOB, log=((0.0, f"{MARKER}\n".encode()),), runtime=0.1)
    stub.files[result_file(JOB)] = encode({"result": MARKER})
    return stub


def verdicts(airflow_cli, conn_id: str = "ray_default") -> tuple[int, dict[str, str], str]:
    told = airflow_cli("ray", "check", "-o", "json", "--job-timeout", "1", "--conn-id", conn_id)
    rows = json.loads(told.out)
    assert "Traceback" not in told.err
    return told.code, {row["step"]: row["verdict"] for row in rows}, told.out


def test_good_cluster_is_good(airflow_cli, cluster) -> None:
    """Every step is ok, the code is 0 and the test job is gone."""
    code, found, _ = verdicts(airflow_cli)

    assert (code, set(found.values())) == (0, {"ok"})
    assert list(found) == [
        "connection",
        "reachability",
        "Ray version",
        "authentication",
        "package upload",
        "test job",
        "log over agent",
        "log over dashboard",
        "result",
        "name",
    ]
    assert cluster.jobs == {}


def test_airflow_without_a_name_is_warned(airflow_cli, cluster, monkeypatch) -> None:
    """It can run jobs, but nobody stops those that are orphaned."""
    monkeypatch.setenv("AIRFLOW__RAY__DEPLOYMENT", "")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://localhost:8080")

    code, found, out = verdicts(airflow_cli)

    assert (code, found["name"]) == (0, "warn")
    assert "Set [ray] deployment or [api] base_url." in out


def test_table_is_for_people(airflow_cli, cluster) -> None:
    """A row per step on standard output; what to do and the count on standard error."""
    cluster.inject(Answer(404), times=None, route=routes.AGENT_LOG)

    told = airflow_cli("ray", "check")

    assert told.code == 0
    assert "log over agent" in told.out
    assert "log over agent: Logs are read through the dashboard instead" in told.err
    assert told.err.endswith("9 ok, 1 warn.\n")


def test_old_ray_is_warned_of(airflow_cli, cluster, monkeypatch) -> None:
    """An older Ray may work: a warning, and the code is 0."""
    monkeypatch.setattr(routes, "RAY_VERSION", "2.0.0")

    code, found, out = verdicts(airflow_cli)

    assert (code, found["Ray version"], found["result"]) == (0, "warn", "ok")
    assert f"Upgrade the cluster to Ray {OLDEST_RAY}" in out


def test_log_that_is_not_the_node_s_is_told(airflow_cli, cluster) -> None:
    """A dashboard that adds bytes to files, as that of Ray 2.44 does, can't serve results."""
    cluster.inject(Answer(200, f"1{MARKER}\n".encode()), times=None, route=routes.LOGS)

    code, found, out = verdicts(airflow_cli)

    assert (code, found["log over agent"]) == (exits.UNEXPECTED, "ok")
    assert (found["log over dashboard"], f"Ray before {OLDEST_RAY}" in out) == ("fail", True)


def test_result_that_is_another_is_told(airflow_cli, cluster) -> None:
    """A result that the test job did not return is no bad input of the user's."""
    cluster.files[result_file(JOB)] = encode({"result": "another"})

    code, found, _ = verdicts(airflow_cli)

    assert (code, found["result"]) == (exits.UNEXPECTED, "fail")


def test_upload_that_fails_hides_no_log_route(airflow_cli, cluster) -> None:
    """Without its package the test job is a command, so that logs are still tried."""
    cluster.inject(Answer(413), times=None, route=routes.PUT_PACKAGE)

    code, found, _ = verdicts(airflow_cli)

    assert code != 0
    assert found["package upload"] == "fail"
    assert found["result"] == "skipped"
    assert found["test job"] == found["log over agent"] == found["log over dashboard"] == "ok"


def test_job_that_fails_hides_no_log_route(airflow_cli, cluster) -> None:
    """The log of a test job that FAILED is there to be read."""
    log = ((0.0, f"{MARKER}\n".encode()),)
    cluster.script(JOB, log=log, status="FAILED", exit_code=127)

    code, found, _ = verdicts(airflow_cli)

    assert (code, found["test job"]) == (exits.FAILED, "fail")
    assert found["log over dashboard"] == "ok"


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (runtime_env_failure("no such package").__dict__, exits.FAILED),
        ({"pending": NEVER}, exits.TIMEOUT),
    ],
)
def test_job_that_never_ran_has_no_log(airflow_cli, cluster, script, code) -> None:
    """What can't be tried without it is skipped, and a job that waits is asked to stop."""
    cluster.script(JOB, **script)

    ended, found, _ = verdicts(airflow_cli)

    assert (ended, found["test job"], found["log over agent"]) == (code, "fail", "skipped")
    assert cluster.jobs == {}


def test_credentials_are_a_step_of_their_own(airflow_cli, cluster) -> None:
    """A cluster that refuses them is reachable nevertheless."""
    cluster.inject(Answer(401), times=None)

    code, found, _ = verdicts(airflow_cli)

    assert code == exits.AUTHENTICATION
    assert (found["reachability"], found["authentication"]) == ("ok", "fail")
    assert found["test job"] == "skipped"


def test_cluster_that_is_down(airflow_cli, monkeypatch) -> None:
    """Nobody there: one failure, and all that needs it is skipped."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    connect(monkeypatch, f"http://127.0.0.1:{port}", password="t0ken")

    code, found, out = verdicts(airflow_cli)

    assert (code, found.pop("connection")) == (exits.UNREACHABLE, "ok")
    assert found.pop("reachability") == "fail"
    assert found.pop("name") == "warn"
    assert set(found.values()) == {"skipped"}
    assert "t0ken" not in out


def test_connection_that_is_not_there(airflow_cli) -> None:
    """The first step says so, and no other is tried."""
    code, found, _ = verdicts(airflow_cli, "nowhere")

    assert (code, found) == (exits.CONNECTION, {"connection": "fail"})


@pytest.mark.parametrize(
    ("version", "is_old"),
    [
        ("2.0.0", True),
        (OLDEST_RAY, False),
        ("9.9.9.dev0", False),
        ("3.0.0.dev0", False),
        ("x", False),
    ],
)
def test_which_versions_are_too_old(version: str, is_old: bool) -> None:
    """Older than the oldest that works; a version that can't be read is given the benefit."""
    assert is_too_old(version) is is_old
    assert ray_versions.OLDEST_RAY.count(".") == 2
