"""Clusters of KubeRay are waited for, listed and described, and the way to them is checked."""

from __future__ import annotations

import asyncio
import json

import airflow.sdk.execution_time.cache  # noqa: F401  # else Airflow imports it in the event loop
import pytest
from airflow.cli.cli_parser import get_parser
from airflow.providers_manager import ProvidersManager

from airflow_synapse.cli import exits
from airflow_synapse.triggers.ray_cluster import RayClusterTrigger
from local_services.kubernetes.rig import NAMESPACE
from tests.kubernetes.ray_clusters import KubeRayCluster, wait_for

pytestmark = pytest.mark.timeout(600)

has_commands = pytest.mark.skipif(
    not hasattr(ProvidersManager, "cli_command_functions"),
    reason="Airflow 3.1 takes no commands from providers",
)


def run(*words: str) -> int:
    args = get_parser().parse_args(["ray", *words])
    try:
        args.func(args)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@has_commands
def test_check_finds_the_way_good(
    connected: str,
    cluster: KubeRayCluster,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the rights of the docs all that jobs need is there, up to a test job on the cluster."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    monkeypatch.setenv("AIRFLOW__RAY__DEPLOYMENT", "prod")
    name = f"{NAMESPACE}/{cluster.name}"

    code = run("check", "--kubernetes", "--ray-cluster", name, "-o", "json", "--job-timeout", "90")

    found = json.loads(capsys.readouterr().out)
    verdicts = {row["step"]: row["verdict"] for row in found}
    assert (code, "fail" in verdicts.values()) == (exits.OK, False), found
    assert (verdicts["rights for jobs"], verdicts["more rights"]) == ("ok", "ok"), found
    # To make clusters is more than jobs need.
    assert verdicts["dry run"] == "warn"


@has_commands
def test_description_says_why_a_cluster_does_not_start(
    connected: str,
    own_cluster: KubeRayCluster,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A head whose image is not there is described in the kubelet's own words."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    own_cluster.create(image="rayproject/ray:0.0.0")

    def waits() -> bool:
        statuses = own_cluster.head_pod()["status"].get("containerStatuses") or [{}]
        waiting = statuses[0].get("state", {}).get("waiting", {})
        return waiting.get("reason") == "ImagePullBackOff"

    wait_for("the missing image", waits)

    assert run("clusters", "describe", f"{NAMESPACE}/{own_cluster.name}") == exits.OK
    told = capsys.readouterr().out
    assert "ImagePullBackOff" in told
    assert "docker.io/rayproject/ray:0.0.0: not found" in " ".join(told.split())


async def test_cluster_that_comes_late_is_waited_for(
    connected: str, own_cluster: KubeRayCluster
) -> None:
    """A trigger waits for a cluster that is not there yet, and for its workers."""
    name = f"{NAMESPACE}/{own_cluster.name}"
    trigger = RayClusterTrigger(name, ready="workers", poll_interval=1.0)
    waiting = asyncio.create_task(_event_of(trigger))

    await asyncio.to_thread(own_cluster.create, workers=1)
    event = await waiting

    assert (event["status"], event["ray_cluster"]) == ("READY", name)
    assert len(await asyncio.to_thread(own_cluster.pods)) == 2


async def _event_of(trigger: RayClusterTrigger) -> dict[str, str]:
    (event,) = [event.payload async for event in trigger.run()]
    return dict(event)
