"""``airflow ray clusters`` and ``airflow ray check --kubernetes``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_synapse.cli import exits
from tests.clusters.conftest import connect
from tests.support.kubernetes.stub_api_server import StubApiServer
from tests.support.stub_dashboard import StubDashboard


@pytest.fixture
def api_server(
    stub_dashboard: StubDashboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StubApiServer]:
    """A stub API server, to which ``kubernetes_default`` leads."""
    with StubApiServer(stub_dashboard.url, stub_dashboard.agent_url) as server:
        connect(monkeypatch, server, tmp_path)
        yield server


def test_clusters_are_listed_and_described(airflow_cli: Any, api_server: StubApiServer) -> None:
    """One row each; and all that is known about one."""
    listed = airflow_cli("ray", "clusters", "list", "-o", "json")
    described = airflow_cli("ray", "clusters", "describe", "ray/train", "-o", "json")

    (row,) = json.loads(listed.out)
    assert (row["cluster"], row["phase"], row["workers"]) == ("ray/train", "ready", "1/1")
    assert json.loads(described.out)["uid"] == "uid-of-train"


@pytest.mark.parametrize("command", [["clusters", "list"], ["check", "--kubernetes"]])
def test_connection_that_does_not_exist_is_told(airflow_cli: Any, command: list[str]) -> None:
    """With the command that creates one, and without a traceback."""
    told = airflow_cli("ray", *command, "--kubernetes-conn-id", "nope")

    assert told.code == exits.CONNECTION
    assert "airflow connections add nope --conn-type kubernetes" in told.err + told.out


def test_jobs_of_a_cluster_are_listed(airflow_cli: Any, api_server: StubApiServer) -> None:
    """Every command takes --ray-cluster instead of a connection, but not beside one."""
    told = airflow_cli("ray", "list", "--ray-cluster", "ray/train", "-o", "json")
    both = airflow_cli("ray", "list", "--ray-cluster", "ray/train", "--conn-id", "ray_default")

    assert (told.code, json.loads(told.out)) == (0, [])
    assert both.code == 8
    assert "--conn-id names another cluster" in both.err


def test_check_of_kubernetes_names_what_is_missing(
    airflow_cli: Any, api_server: StubApiServer
) -> None:
    """All is well, or a right is missing and the Role is shown."""
    good = airflow_cli("ray", "check", "--kubernetes", "-o", "json")
    api_server.denied.add(("update", "services/proxy"))
    bad = airflow_cli("ray", "check", "--kubernetes", "-o", "json")

    found = {row["step"]: row for row in json.loads(good.out)}
    assert {row["verdict"] for row in found.values()} == {"ok"}, found
    missing = {row["step"]: row for row in json.loads(bad.out)}["rights for jobs"]
    assert missing["verdict"] == "fail"
    assert "update services/proxy (upload code)" in missing["found"]
    assert "verbs: [update]" in missing["to_do"]
