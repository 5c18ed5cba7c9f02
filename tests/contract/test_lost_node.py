"""The node of a job's driver dies between the job's end and the reading of what it left, on a real Ray."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from airflow_synapse.plugin.function import FunctionSource
from airflow_synapse.rayjobs import RayJobExecutor
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

SIZES = {"small": 1, "large": 3_000_000}


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[RayHead, RayNode]]:
    """A head that runs no jobs, and a node that does."""
    with (
        Bridge() as bridge,
        RayHead(node_ip=bridge.ip, num_cpus=0, auth_token=TOKEN) as head,
        RayNode(head, bridge, resources={"far": 1}) as node,
    ):
        yield head, node


def test_result_outlives_the_node_of_its_job(cluster: tuple[RayHead, RayNode]) -> None:
    """A small one is in the job's metadata, a large one on the head, before anybody knows of the death."""
    head, node = cluster
    executor = RayJobExecutor(head.dashboard_url, token=TOKEN, resources={"far": 0.1})
    source = FunctionSource("repeat", ACTION)
    for name, count in SIZES.items():
        executor.submit_prepared(executor.prepare_function(source, {"count": count}), name)
    assert [executor.wait(name, 120) for name in SIZES] == ["SUCCEEDED", "SUCCEEDED"]
    logs = {name: executor.get_logs(name) for name in SIZES}

    node.kill()
    at_once = {name: len(executor.get_result(name)) for name in SIZES}
    while node.ip in alive_nodes(head):
        time.sleep(0.5)
    later = {name: len(executor.get_result(name)) for name in SIZES}

    assert at_once == later == SIZES
    assert RESULT_KEY in executor.get_info("small").metadata
    assert COPIES_KEY in executor.get_info("large").metadata
    assert "airflow-synapse:" not in str(logs)
