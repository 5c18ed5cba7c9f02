"""What KubeRay does with a cluster while a job runs on it."""

from __future__ import annotations

import uuid

import pytest

from airflow_synapse.exceptions import RayJobNotFoundError
from tests.kubernetes.ray_clusters import PODS, KubeRayCluster, wait_for

pytestmark = pytest.mark.timeout(600)


def a_job_id() -> str:
    return f"kuberay-{uuid.uuid4().hex[:8]}"


def test_new_head_has_forgotten_its_jobs(own_cluster: KubeRayCluster) -> None:
    """KubeRay replaces a head pod that is deleted; its job is then not found, and not waited for."""
    executor = own_cluster.create().wait_until_ready().executor(unreachable_timeout=240.0)
    job_id = executor.submit_entrypoint("sleep 600", job_id=a_job_id())
    wait_for("the job to run", lambda: executor.get_status(job_id) == "RUNNING" or None)
    head = own_cluster.head_pod()["metadata"]

    own_cluster.rig.api.delete(f"{PODS}/{head['name']}")

    with pytest.raises(RayJobNotFoundError, match=job_id):
        executor.wait(job_id, timeout_seconds=240)
    assert own_cluster.head_pod()["metadata"]["uid"] != head["uid"]


@pytest.mark.long
def test_autoscaler_adds_a_worker_for_a_job(own_cluster: KubeRayCluster) -> None:
    """A job that no node has room for gets a worker, made by Ray's own autoscaler."""
    own_cluster.create(is_autoscaled=True).wait_until_ready()
    executor = own_cluster.executor()
    assert own_cluster.pods("workers") == []

    job_id = executor.submit_entrypoint("echo done", job_id=a_job_id(), entrypoint_num_cpus=2)

    assert executor.wait(job_id, timeout_seconds=240) == "SUCCEEDED"
    (worker,) = own_cluster.pods("workers")
    assert worker["status"]["podIP"] in (executor.get_info(job_id).driver_agent_http_address or "")
