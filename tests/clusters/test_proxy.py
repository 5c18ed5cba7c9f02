"""Jobs run on a cluster to which the way leads through the Kubernetes API server."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from airflow_synapse.exceptions import (
    RayAddressError,
    RayAuthenticationError,
    RayClusterGoneError,
    RayClusterUnreachableError,
    RayJobNotFoundError,
)
from airflow_synapse.hooks.ray_job import RayJobHook
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.client.answers import AgentUnusableError
from airflow_synapse.rayjobs.client.kubernetes.pods import Pods
from airflow_synapse.rayjobs.client.session import Session
from airflow_synapse.rayjobs.models import KubernetesPlace
from airflow_synapse.triggers.ray_job import RayJobTrigger
from tests.clusters.conftest import connect
from tests.support import stub_dashboard as routes
from tests.support.kubernetes.stub_api_server import StubApiServer
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard

CLUSTER = "ray/train"


def an_executor(cluster: str = CLUSTER, **options: str) -> RayJobExecutor:
    executor = RayJobHook(ray_cluster=cluster, **options).get_conn()
    executor.pace = FAST_PACE
    return executor


def test_job_runs_by_proxy(api_server: StubApiServer, stub_dashboard: StubDashboard) -> None:
    """Submission, log by ranges of the pod's agent, and result; Ray never sees Kubernetes' token."""
    lines = tuple((0.01 * n, b"line %d\n" % n) for n in range(10))
    stub_dashboard.script("j", log=lines, runtime=0.5, has_header=False)
    executor = an_executor()

    with executor:
        executor.submit_entrypoint("true", job_id="j")
        assert list(executor.stream_logs("j")) == [f"line {n}" for n in range(10)]

    agent = stub_dashboard.last_call(routes.AGENT_LOG)
    assert agent.headers["Range"].startswith("bytes=")
    assert not any("Authorization" in call.headers for call in stub_dashboard.calls)
    assert stub_dashboard.count(routes.LOGS) == 0


def test_log_comes_over_the_head_without_the_right_to_pods(
    api_server: StubApiServer, stub_dashboard: StubDashboard
) -> None:
    """Who may not list pods, or not reach them, reads the log by way of the dashboard."""
    stub_dashboard.add_job("j", log=((0.0, b"one\n"),), has_header=False)
    api_server.denied.add(("list", "pods"))

    assert list(an_executor().stream_logs("j")) == ["one"]
    assert stub_dashboard.count(routes.AGENT_LOG) == 0


def test_ray_s_own_token_comes_from_the_secret(
    api_server: StubApiServer, stub_dashboard: StubDashboard
) -> None:
    """A cluster whose authOptions.mode is token is let in by its Secret, in the header that passes."""
    stub_dashboard.token = "ray-token"
    stub_dashboard.token_header = "X-Ray-Authorization"
    api_server.secrets["train"] = {"auth_token": "ray-token"}
    executor = an_executor()

    assert executor.list_jobs() == executor.list_jobs() == []
    assert "ray-token" not in repr(executor.cluster)


def test_token_of_kubernetes_may_change(
    api_server: StubApiServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The kubeconfig is read again, with its exec plugin if it has one."""
    executor = an_executor()
    executor.list_jobs()

    api_server.valid = "another-token"
    connect(monkeypatch, api_server, tmp_path)

    assert executor.list_jobs() == []


def test_cluster_that_is_gone_is_told(api_server: StubApiServer) -> None:
    """No service of that name means no cluster; Ray's own 404 means no job."""
    with pytest.raises(RayJobNotFoundError):
        an_executor().get_info("no-such-job")
    api_server.clusters.clear()

    with pytest.raises(RayClusterGoneError, match=r"ray/train is gone.*not found") as caught:
        an_executor().get_info("j")

    assert "Job j ended with it" in str(caught.value)


async def test_trigger_tells_that_the_cluster_is_gone(api_server: StubApiServer) -> None:
    """The event says NOT_FOUND and RAY_CLUSTER_GONE, and the task gets the same error back."""
    from airflow_synapse.handover.events import outcome_of

    api_server.clusters.clear()
    trigger = RayJobTrigger("j", ray_cluster=CLUSTER)

    (event,) = [event.payload async for event in trigger.run()]

    assert (event["status"], event["error_type"]) == ("NOT_FOUND", "RAY_CLUSTER_GONE")
    assert isinstance(outcome_of(json.loads(json.dumps(event))).error(), RayClusterGoneError)
    assert trigger.serialize()[1]["ray_cluster"] == CLUSTER


def test_head_that_starts_is_an_outage(api_server: StubApiServer) -> None:
    """503 with a refused connection is waited out like any other outage."""
    api_server.is_head_up = False

    with pytest.raises(RayClusterUnreachableError, match="head of Ray cluster ray/train does not"):
        an_executor().list_jobs()


@pytest.mark.parametrize("verb", ["get", "create"])
def test_missing_right_is_told_as_a_role(
    api_server: StubApiServer, stub_dashboard: StubDashboard, verb: str
) -> None:
    """The error shows the Role that is missing, as YAML that can be applied."""
    api_server.denied.add((verb, "services/proxy"))
    stub_dashboard.add_job("j", runtime=60.0)
    executor = an_executor()

    with pytest.raises(RayAuthenticationError) as caught:
        executor.list_jobs() if verb == "get" else executor.stop("j")

    assert f"resources: [services/proxy], verbs: [{verb}]" in str(caught.value)
    assert "kind: Role" in str(caught.value)
    assert 'User "airflow" cannot' in str(caught.value)


@pytest.mark.parametrize(
    ("reach", "address"),
    [
        ("service", "http://train-head-svc.ray.svc:8265"),
        ("https://ray.example.com/{namespace}/{name}", "https://ray.example.com/ray/train"),
        ("auto", "/api/v1/namespaces/ray/services/train-head-svc:dashboard/proxy"),
        ("proxy", "/api/v1/namespaces/ray/services/train-head-svc:dashboard/proxy"),
    ],
)
def test_reach_says_the_way(api_server: StubApiServer, reach: str, address: str) -> None:
    """From outside, auto is the proxy; Kubernetes' token goes to its own API server only."""
    cluster = RayJobHook(ray_cluster=CLUSTER, reach=reach).get_conn().cluster

    assert cluster.address.removeprefix(api_server.url) == address
    assert (cluster.token == api_server.valid) == address.startswith("/api")


@pytest.mark.parametrize("name", ["train", "ray/", "Ray/Train", "a/b/c", "", " / "])
def test_name_that_is_none_is_refused(api_server: StubApiServer, name: str) -> None:
    """A cluster is named by its namespace and its name."""
    if not name:
        return
    with pytest.raises(RayAddressError, match="namespace/name"):
        RayJobHook(ray_cluster=name)


def test_connection_beside_a_cluster_is_refused() -> None:
    """Two answers to one question are one too many."""
    with pytest.raises(ValueError, match="Both ray_conn_id and ray_cluster"):
        RayJobHook("ray_default", ray_cluster=CLUSTER)


def test_missing_provider_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Airflow's Kubernetes provider the error names the extra that brings it."""
    import sys

    name = "airflow.providers.cncf.kubernetes.hooks.kubernetes"
    monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(RayAddressError, match=r"Install airflow-synapse\[kubernetes\]"):
        RayJobHook(ray_cluster=CLUSTER).get_conn()


def test_bad_kubeconfig_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that is not there is told with the connection's name."""
    extra = {"kube_config_path": str(tmp_path / "missing")}
    connection = {"conn_type": "kubernetes", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))

    with pytest.raises(RayAddressError, match=r"connection kubernetes_default.*can't be used"):
        RayJobHook(ray_cluster=CLUSTER).get_conn()


@pytest.mark.parametrize("address", ["http://10.0.0.1:99999", "http://[bad", "10.0.0.1"])
async def test_agent_whose_address_is_none_is_done_without(address: str) -> None:
    """Ray's word about an agent breaks no watch: the log comes over the dashboard instead."""
    session = create_autospec(Session)
    session.get_json.return_value = {"items": []}
    pods = Pods(KubernetesPlace("https://api:6443", "ray", "train"))

    with pytest.raises(AgentUnusableError):
        await pods.url_of_agent(session, address, "/logs/a")
