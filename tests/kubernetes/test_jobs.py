"""Jobs on a cluster of KubeRay, reached through the API server with address, token and CA typed in."""

from __future__ import annotations

import random
import ssl
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest

from airflow_synapse.exceptions import RayJobNotFoundError
from tests.kubernetes.ray_clusters import AGENT_PORT, PODS, KubeRayCluster

pytestmark = pytest.mark.timeout(600)

MIB = 1024 * 1024


def a_job_id() -> str:
    return f"on-kubernetes-{uuid.uuid4().hex[:8]}"


def fetch(cluster: KubeRayCluster, path: str, byte_range: str) -> tuple[int, bytes]:
    """Ask the API server for a range of something, with the rights of the administrator."""
    headers = {
        "Authorization": f"Bearer {cluster.rig.certificates.token('admin')}",
        "Range": f"bytes={byte_range}",
    }
    request = urllib.request.Request(cluster.rig.url + path, headers=headers)
    tls = ssl.create_default_context(cafile=str(cluster.ca))
    try:
        with urllib.request.urlopen(request, timeout=30, context=tls) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read()


def test_action_runs_through_the_api_server(cluster: KubeRayCluster, plugin: Path) -> None:
    """An action gets its params and gives its result back, over the API server's proxy."""
    executor = cluster.executor(working_dir=plugin)

    job_id = executor.submit("echo", {"value": [1, "zwei", None]}, job_id=a_job_id())

    assert executor.wait(job_id, timeout_seconds=120) == "SUCCEEDED"
    assert executor.get_result(job_id) == [1, "zwei", None]
    assert "the action ran" in executor.get_logs(job_id)


def test_failure_stop_and_delete_pass_the_api_server(cluster: KubeRayCluster) -> None:
    """Each kind of request that we send passes the proxy: POST, GET and DELETE."""
    executor = cluster.executor()
    job_id = executor.submit_entrypoint("sleep 600", job_id=a_job_id())

    assert executor.stop(job_id)
    assert executor.get_status(job_id) == "STOPPED"
    assert executor.delete(job_id)
    with pytest.raises(RayJobNotFoundError, match=job_id):
        executor.get_info(job_id)


def test_ranges_of_a_log_pass_the_api_server(cluster: KubeRayCluster) -> None:
    """The agent on the driver's node gives any part of a log, by the proxy of its pod."""
    executor = cluster.executor()
    job_id = executor.submit_entrypoint("echo 0123456789", job_id=a_job_id())
    executor.wait(job_id, timeout_seconds=120)
    whole = executor.get_logs(job_id).encode()
    pod = next(
        pod["metadata"]["name"]
        for pod in cluster.pods()
        if pod["status"]["podIP"] in (executor.get_info(job_id).driver_agent_http_address or "")
    )
    path = f"{PODS}/{pod}:{AGENT_PORT}/proxy/logs/job-driver-{job_id}.log"

    assert fetch(cluster, path, "3-6") == (206, whole[3:7])
    assert fetch(cluster, path, f"{len(whole) - 4}-") == (206, whole[-4:])
    assert fetch(cluster, path, f"{len(whole)}-")[0] == 416


def test_package_of_90_mib_goes_up(cluster: KubeRayCluster, plugin: Path) -> None:
    """A package just below Ray's limit passes the proxy, and the job gets it whole."""
    (plugin / "weights.bin").write_bytes(random.Random(90).randbytes(90 * MIB))
    (plugin / "actions.py").write_text(
        "import pathlib\n\ndef size():\n    return pathlib.Path('weights.bin').stat().st_size\n"
    )
    (plugin / "config.yaml").write_text(
        "name: large\nactions:\n  size: {entrypoint: 'actions:size'}\n"
    )
    executor = cluster.executor(working_dir=plugin, request_timeout=120.0)

    job_id = executor.submit("size", {}, job_id=a_job_id())

    assert executor.wait(job_id, timeout_seconds=120) == "SUCCEEDED"
    assert executor.get_result(job_id) == 90 * MIB
