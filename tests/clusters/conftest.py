"""What tests of clusters on Kubernetes share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kubernetes.stub_api_server import StubApiServer
from tests.support.stub_dashboard import StubDashboard

pytest.importorskip("airflow.providers.cncf.kubernetes")


@pytest.fixture
def api_server(
    stub_dashboard: StubDashboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StubApiServer]:
    """A stub API server, to which ``kubernetes_default`` leads."""
    with StubApiServer(stub_dashboard.url, stub_dashboard.agent_url) as server:
        connect(monkeypatch, server, tmp_path)
        yield server


def connect(monkeypatch: pytest.MonkeyPatch, server: StubApiServer, folder: Path) -> None:
    extra = {"kube_config_path": str(server.kubeconfig(folder)), "namespace": "ray"}
    connection = {"conn_type": "kubernetes", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))
