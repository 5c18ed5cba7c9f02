"""Who waits for a Ray cluster on Kubernetes hears when it is ready, and meanwhile why it is not."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from airflow_synapse.clusters.names import ClusterName
from airflow_synapse.clusters.waiting import NamespaceBoard
from airflow_synapse.exceptions import (
    ExecutionError,
    RayAuthenticationError,
    RayClusterUnreachableError,
)
from airflow_synapse.hooks.cluster_ref import ClusterRef
from airflow_synapse.hooks.kuberay import KubeRayHook
from airflow_synapse.sensors.ray_cluster import RayClusterSensor
from airflow_synapse.triggers.ray_cluster import RayClusterTrigger
from airflow_synapse.version_compat import TaskDeferred
from tests.support.faults import Answer, Reset
from tests.support.kubernetes.stub_api_server import StubApiServer, a_ray_cluster
from tests.support.token_proxy import until

LIST = "GET /apis/ray.io/v1/namespaces/{namespace}/rayclusters"
GET = LIST + "/{name}"
NOT_READY = {
    "conditions": [{"type": "HeadPodReady", "status": "False", "reason": "P", "message": "busy"}],
    "readyWorkerReplicas": 0,
}


def a_sensor(**given: Any) -> RayClusterSensor:
    return RayClusterSensor(task_id="wait", ray_cluster="ray/train", poll_interval=0.05, **given)


async def event_of(trigger: RayClusterTrigger) -> dict[str, Any]:
    (event,) = [event.payload async for event in trigger.run()]
    return event


def test_sensor_sees_what_is_ready(api_server: StubApiServer) -> None:
    """A head that is ready may have workers that are not; a cluster that is not there is waited for."""
    head, workers = a_sensor(), a_sensor(ready="workers")
    api_server.clusters["train"] = a_ray_cluster(readyWorkerReplicas=0)

    assert head.poke({})  # type: ignore[typeddict-item]
    assert not workers.poke({})  # type: ignore[typeddict-item]
    api_server.clusters.clear()
    assert not head.poke({})  # type: ignore[typeddict-item]


def test_missing_right_fails_the_sensor(
    api_server: StubApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No waiting helps there; the error shows the Role."""
    from airflow_synapse.rayjobs.client.credentials import pace

    monkeypatch.setattr(pace, "USUAL_PACE", pace.IMPATIENT)
    api_server.denied.add(("get", "rayclusters"))

    with pytest.raises(RayAuthenticationError, match=r'apiGroups: \["ray.io"\]'):
        a_sensor().poke({})  # type: ignore[typeddict-item]


async def test_triggers_share_one_list(
    api_server: StubApiServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty triggers ask once per interval; each logs what changes, and all end when it is ready."""
    monkeypatch.setattr(RayClusterTrigger, "log", logging.getLogger("the task's log"))
    caplog.set_level("INFO")
    api_server.clusters["train"] = a_ray_cluster(**NOT_READY)
    triggers = [RayClusterTrigger("ray/train", poll_interval=0.2) for _ in range(30)]
    waiting = asyncio.gather(*(event_of(trigger) for trigger in triggers))
    await until(lambda: api_server.count(LIST) >= 2)

    api_server.clusters["train"] = a_ray_cluster()
    events = await waiting

    assert {event["status"] for event in events} == {"READY"}
    assert api_server.count(LIST) < 30
    assert sum("its head is not ready (P: busy)" in text for text in caplog.messages) == 30


async def test_deferred_sensor_ends_with_the_trigger(api_server: StubApiServer) -> None:
    """It defers only while the cluster is not ready, and an error comes back as one."""
    assert await asyncio.to_thread(a_sensor(deferrable=True).execute, {}) is None
    api_server.clusters["train"] = a_ray_cluster(**NOT_READY)
    sensor = a_sensor(deferrable=True)

    with pytest.raises(TaskDeferred) as deferral:
        await asyncio.to_thread(sensor.execute, {})
    api_server.clusters["train"] = a_ray_cluster()
    event = json.loads(json.dumps(await event_of(deferral.value.trigger)))

    sensor.execute_complete({}, event)  # type: ignore[typeddict-item]
    for broken in (None, {"status": "ERROR", "message": "no rights"}):
        with pytest.raises(ExecutionError, match="could not be waited for"):
            sensor.execute_complete({}, broken)  # type: ignore[typeddict-item]


async def test_outage_of_the_api_server_is_waited_out(
    stub_dashboard: Any, api_server: StubApiServer
) -> None:
    """While it answers 503, the trigger goes on waiting."""
    api_server.inject(Answer(503), times=2, route=LIST)

    assert (await event_of(RayClusterTrigger("ray/train", poll_interval=0.05)))["status"] == "READY"


async def test_failed_list_is_shared_like_any_other(
    stub_dashboard: Any, api_server: StubApiServer
) -> None:
    """Who waits hears of an outage at once, and not after one failed request for each who came before."""
    hook, name = KubeRayHook(), ClusterName("ray", "train")
    api_server.inject(Answer(503), times=None, route=LIST)

    async with hook.api_of(await asyncio.to_thread(hook.get_conn), "ray") as api:
        board = NamespaceBoard(api)
        looks = [board.look(name, max_age=600) for _ in range(20)]
        heard = await asyncio.gather(*looks, return_exceptions=True)
        asked = api_server.count(LIST)
        api_server.heal()
        after = await board.look(name, max_age=0)

    assert {type(one) for one in heard} == {RayClusterUnreachableError}
    assert asked == 1
    assert after is not None


def test_sensor_waits_out_an_outage_of_the_api_server(
    api_server: StubApiServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One warning says that it began, and one line how the cluster is when it is over."""
    monkeypatch.setattr(RayClusterSensor, "log", logging.getLogger("the task's log"))
    caplog.set_level("INFO", logger="the task's log")
    api_server.inject(Answer(503), times=1, route=GET)
    api_server.inject(Reset(), times=2, route=GET)

    a_sensor().execute({})  # type: ignore[typeddict-item]

    told = [one for one in caplog.records if one.name == "the task's log"]
    assert [one.levelname for one in told if "Ray cluster ray/train" in one.getMessage()] == [
        "WARNING",
        "INFO",
    ]


def test_sensor_defers_in_an_outage(api_server: StubApiServer) -> None:
    """The trigger waits it out."""
    api_server.inject(Answer(503), times=None, route=GET)

    with pytest.raises(TaskDeferred):
        a_sensor(deferrable=True).execute({})  # type: ignore[typeddict-item]


def test_kuberay_that_is_missing_is_told(api_server: StubApiServer) -> None:
    """Kubernetes answers 404 to the whole path then, and says nothing about the cluster."""
    api_server.has_kuberay = False

    with pytest.raises(Exception, match="KubeRay is not installed"):
        KubeRayHook().get_cluster("ray/train")


def test_hook_lists_and_describes(api_server: StubApiServer) -> None:
    """The namespace is the connection's unless another is given."""
    (cluster,) = KubeRayHook().list_clusters()
    described, pods, events = KubeRayHook().describe("ray/train")

    assert str(cluster.name) == "ray/train"
    assert described == cluster
    assert cluster.phase == "ready"
    assert {pod.phase for pod in pods} == {"Running"}
    assert events == []


def test_cluster_grows_until_it_has_the_workers_that_it_should_have(
    api_server: StubApiServer,
) -> None:
    """No job is impossible there meanwhile. What is unknown does not grow."""
    ref = ClusterRef.of(ray_cluster="ray/train")
    ready = ref.is_growing()
    api_server.clusters["train"] = a_ray_cluster(readyWorkerReplicas=0)
    growing = ref.is_growing()
    api_server.clusters.clear()

    assert (ready, growing, ref.is_growing()) == (False, True, False)
    assert not ClusterRef("a_connection").is_growing()
