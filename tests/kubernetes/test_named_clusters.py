"""Clusters of KubeRay by their name: no address, no Ray connection, and no more rights than needed."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import airflow.sdk.execution_time.cache  # noqa: F401  # else Airflow imports it in the event loop
import pytest
import yaml

import airflow_synapse
from airflow_synapse.exceptions import (
    RayAuthenticationError,
    RayClusterGoneError,
    RayClusterUnreachableError,
    RayJobNotFoundError,
)
from airflow_synapse.hooks.kuberay import KubeRayHook
from airflow_synapse.hooks.ray_job import RayJobHook
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.sensors.ray_cluster import RayClusterSensor
from airflow_synapse.triggers.ray_job import RayJobTrigger
from local_services.kubernetes.rig import NAMESPACE, KubernetesRig
from tests.kubernetes.ray_clusters import PODS, KubeRayCluster, wait_for
from tests.kubernetes.rights import Connect, apply_role, documented_role

pytestmark = pytest.mark.timeout(600)


def an_executor(cluster: KubeRayCluster) -> RayJobExecutor:
    return RayJobHook(ray_cluster=f"{NAMESPACE}/{cluster.name}").get_conn()


def a_patient_executor(cluster: KubeRayCluster, **options: Any) -> RayJobExecutor:
    """On a busy machine a head that was ready may be away again for a while."""
    found = an_executor(cluster).cluster
    return RayJobExecutor.of_cluster(found, unreachable_timeout=180.0, **options)


def a_job_id() -> str:
    return f"named-{uuid.uuid4().hex[:8]}"


def test_documented_role_is_enough(connected: str, cluster: KubeRayCluster, plugin: Path) -> None:
    """With the Role of the docs, code goes up, a job runs, and log and result come back."""
    executor = an_executor(cluster)
    executor = RayJobExecutor.of_cluster(executor.cluster, working_dir=plugin)

    job_id = executor.submit("echo", {"value": 1}, job_id=a_job_id())

    assert "the action ran" in list(executor.stream_logs(job_id))
    assert executor.get_result(job_id) == 1
    assert executor.delete(job_id)
    assert RayClusterSensor(task_id="s", ray_cluster=f"{NAMESPACE}/{cluster.name}").poke({})
    assert [c.name.name for c in KubeRayHook().list_clusters()].count(cluster.name) == 1


@pytest.mark.parametrize("verb", ["get", "create", "update", "delete"])
def test_missing_verb_is_told_as_a_role_that_helps(
    rig: KubernetesRig,
    cluster: KubeRayCluster,
    account: str,
    connect: Connect,
    plugin: Path,
    verb: str,
) -> None:
    """Without one of the verbs the error shows a Role, and with that Role added it works."""
    role = documented_role()
    role["rules"][0]["verbs"].remove(verb)
    apply_role(rig, account, role)
    connect(account)
    # A package that no other test has sent, so that it has to go up.
    (plugin / "unique.txt").write_text(account)
    executor = RayJobExecutor.of_cluster(an_executor(cluster).cluster, working_dir=plugin)
    job_id = a_job_id()

    def whole_life() -> str:
        executor.submit("echo", {"value": 1}, job_id=job_id)
        executor.wait(job_id, timeout_seconds=120)
        executor.delete(job_id)
        return "done"

    with pytest.raises(RayAuthenticationError) as caught:
        whole_life()
    missing = yaml.safe_load(str(caught.value)[str(caught.value).index("apiVersion:") :])
    apply_role(rig, account, missing | {"metadata": {"name": f"{account}-more"}})

    assert f"verbs: [{verb}]" in str(caught.value)
    assert whole_life() == "done"


def test_job_waits_for_a_head_that_starts(connected: str, own_cluster: KubeRayCluster) -> None:
    """A cluster that is not ready yet is an outage that can be waited out."""
    own_cluster.create()
    wait_for("its service", lambda: own_cluster.pods() or None)
    executor = an_executor(own_cluster)

    with pytest.raises(RayClusterUnreachableError, match=own_cluster.name):
        executor.list_jobs()
    executor.unreachable_timeout = 180.0
    job_id = executor.submit_entrypoint("true", job_id=a_job_id())

    assert executor.wait(job_id, timeout_seconds=120) == "SUCCEEDED"


async def test_cluster_that_is_deleted_while_its_job_is_watched(
    connected: str, own_cluster: KubeRayCluster
) -> None:
    """The trigger's event says that the cluster is gone, not only the job."""
    # With any grace, Ray may still tell that the job died with its node.
    await asyncio.to_thread(lambda: own_cluster.create(grace=0).wait_until_ready())
    executor = await asyncio.to_thread(a_patient_executor, own_cluster)
    job_id = await asyncio.to_thread(executor.submit_entrypoint, "sleep 600", job_id=a_job_id())
    trigger = RayJobTrigger(
        job_id, ray_cluster=f"{NAMESPACE}/{own_cluster.name}", stop_on_kill=False
    )
    watching = asyncio.create_task(_event_of(trigger))

    await asyncio.to_thread(own_cluster.delete)
    event = await watching

    assert (event["status"], event["error_type"]) == ("NOT_FOUND", "RAY_CLUSTER_GONE")


async def _event_of(trigger: RayJobTrigger) -> dict[str, Any]:
    (event,) = [event.payload async for event in trigger.run()]
    return dict(event)


def test_cluster_of_the_same_name_is_another_one(
    connected: str, own_cluster: KubeRayCluster
) -> None:
    """A cluster that was deleted and made again under its name does not have the job, and nobody waits."""
    own_cluster.create().wait_until_ready()
    executor = a_patient_executor(own_cluster)
    job_id = executor.submit_entrypoint("sleep 600", job_id=a_job_id())
    own_cluster.delete()

    with pytest.raises(RayClusterGoneError, match=own_cluster.name):
        an_executor(own_cluster).get_info(job_id)
    own_cluster.create()

    # Which one depends on how soon the new head's service is there.
    with pytest.raises((RayJobNotFoundError, RayClusterGoneError)):
        executor.wait(job_id, timeout_seconds=240)


def test_cluster_that_asks_for_ray_s_own_token(
    connected: str, own_cluster: KubeRayCluster, plugin: Path
) -> None:
    """Ray's token is read from the Secret that KubeRay makes; Kubernetes' token opens nothing there."""
    own_cluster.create(authOptions={"mode": "token"}, rayVersion="2.60.0").wait_until_ready()
    executor = a_patient_executor(own_cluster, working_dir=plugin)

    with pytest.raises(RayAuthenticationError):
        own_cluster.executor().list_jobs()
    job_id = executor.submit("echo", {"value": 1}, job_id=a_job_id())

    assert executor.wait(job_id, timeout_seconds=120) == "SUCCEEDED"
    assert executor.get_result(job_id) == 1


_IN_A_POD = """
from airflow_synapse.hooks.ray_job import RayJobHook

executor = RayJobHook(ray_cluster="{cluster}").get_conn()
job_id = executor.submit_entrypoint("echo from inside")
executor.wait(job_id, timeout_seconds=120)
print("address", executor.cluster.address)
print(executor.get_logs(job_id))
"""


def test_pod_reaches_the_cluster_by_its_service(
    rig: KubernetesRig, connected: str, cluster: KubeRayCluster
) -> None:
    """Inside Kubernetes no connection is needed at all: the pod's own account, and the head's service."""
    name = f"airflow-{uuid.uuid4().hex[:8]}"
    script = _IN_A_POD.format(cluster=f"{NAMESPACE}/{cluster.name}")
    main = {
        "name": "main",
        "image": next(iter(rig.images)),
        "command": ["python", "-c", script],
        "env": [{"name": "PYTHONPATH", "value": str(Path(airflow_synapse.__file__).parents[1])}],
    }
    spec = {"restartPolicy": "Never", "serviceAccountName": connected, "containers": [main]}
    rig.api.create(PODS, {"metadata": {"name": name}, "spec": spec})

    wait_for(
        "the pod's end",
        lambda: rig.api.get(f"{PODS}/{name}")["status"]["phase"] in ("Succeeded", "Failed"),
    )
    said = rig.api.read("GET", f"{PODS}/{name}/log").decode()
    rig.api.delete(f"{PODS}/{name}")

    assert f"address http://{cluster.name}-head-svc.{NAMESPACE}.svc:8265" in said
    assert "from inside" in said
