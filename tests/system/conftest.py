"""One real Airflow on one real Ray for all system tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_synapse.rayjobs import RayJobExecutor
from local_services.airflow_deployment import AirflowDeployment
from local_services.ray_head import RayHead

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "dags_examples"


@pytest.fixture(scope="session")
def airflow(ray_head: RayHead) -> Iterator[AirflowDeployment]:
    """Scheduler, triggerer, DAG processor and API server, with ``ray_default`` set."""
    connection = {"conn_type": "ray", "host": "127.0.0.1", "port": ray_head.dashboard_port}
    with AirflowDeployment(
        EXAMPLES, HERE / "dags", connections={"ray_default": connection}, parallelism=6
    ) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def executor(ray_head: RayHead) -> RayJobExecutor:
    """The way past Airflow to the same cluster."""
    return RayJobExecutor(ray_head.dashboard_url)
