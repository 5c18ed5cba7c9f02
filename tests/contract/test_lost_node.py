"""The node of a job's driver dies between the job's end and the reading of what it left, on a real Ray."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from airflow_synapse.plugin.function import FunctionSource
from airflow_synapse.rayjobs import Progress, RayJobExecutor
from airflow_synapse.rayjobs.models import COPIES_KEY, RESULT_KEY
from local_services.ray_head import RayHead
from local_services.ray_nodes import Bridge, RayNode, alive_nodes, why_not
from tests.contract.conftest import TOKEN

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(why_not()), reason=f"no second Ray node here: {why_not()}"),
]

ACTION = """
def repeat(count):
    import ray

    @ray.remote
    def of_the_action():
        return "x"

    text = ray.get(of_the_action.remote()) * count
    ray.shutdown()
    return text
"""

REPORTING = """
def report(job):
    import ray

    @ray.remote(num_cpus=0, resources={"node:__internal_head__": 0.001})
    def on_the_head(job):
        job.metrics({"loss": 0.5})
        return ray.util.get_node_ip_address()

    job.progress(1, 2)
    job.artifact("a.bin", b"123")
    return ray.get(on_the_head.remote(job))
"""

SIZES = {"small": 1, "large": 3_000_000}


@pytest.fixture(scope="module")
def lost() -> Iterator[tuple[RayHead, RayNode, RayJobExecutor]]:
    """A head that runs no jobs, and a node that did and that has just been killed."""
    with (
        Bridge() as bridge,
        RayHead(node_ip=bridge.ip, num_cpus=0, auth_token=TOKEN) as head,
        RayNode(head, bridge, resources={"far": 1}) as node,
    ):
        executor = RayJobExecutor(head.dashboard_url, token=TOKEN, resources={"far": 0.1})
        source = FunctionSource("repeat", ACTION)
        for name, count in SIZES.items():
            executor.submit_prepared(executor.prepare_function(source, {"count": count}), name)
        reporting = executor.prepare_function(FunctionSource("report", REPORTING))
        executor.submit_prepared(reporting, "reporting")
        for name in (*SIZES, "reporting"):
            executor.wait(name, 120)
            assert "airflow-synapse:" not in executor.get_logs(name)
        node.kill()
        yield head, node, executor


def test_result_outlives_the_node_of_its_job(
    lost: tuple[RayHead, RayNode, RayJobExecutor],
) -> None:
    """A small one is in the job's metadata, a large one on the head, before anybody knows of the death."""
    head, node, executor = lost

    at_once = {name: len(executor.get_result(name)) for name in SIZES}
    while node.ip in alive_nodes(head):
        time.sleep(0.5)
    later = {name: len(executor.get_result(name)) for name in SIZES}

    assert at_once == later == SIZES
    assert RESULT_KEY in executor.get_info("small").metadata
    assert COPIES_KEY in executor.get_info("large").metadata


def test_report_outlives_the_node_of_its_job(
    lost: tuple[RayHead, RayNode, RayJobExecutor],
) -> None:
    """Also what a task on another node has reported to the driver."""
    _, node, executor = lost

    report = executor.get_report("reporting")

    assert executor.get_result("reporting") != node.ip
    assert report.progress == {"": Progress(1, 2)}
    assert report.metrics == {"loss": [(0, 0.5)]}
    assert report.messages == []
    assert executor.get_artifact("reporting", "a.bin") == b"123"
