"""One real Airflow on one real Ray for all system tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow import __version__ as airflow_version
from packaging.version import Version

from airflow_synapse.rayjobs import RayJobExecutor
from local_services.airflow_deployment import AirflowDeployment
from local_services.ray_head import RayHead
from tests.support.fault_proxy import FaultProxy
from tests.support.statsd_listener import StatsdListener

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "dags_examples"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let who looks at the UI keep what the browser showed."""
    parser.addoption(
        "--screenshots",
        type=Path,
        metavar="DIR",
        help="save a picture of each test of Airflow's UI",
    )


@pytest.fixture(scope="session")
def proxy(ray_head: RayHead) -> Iterator[FaultProxy]:
    """The network between Airflow and Ray, for tasks that use ``ray_proxied``."""
    with FaultProxy(ray_head.dashboard_url) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def statsd() -> Iterator[StatsdListener]:
    """Where this provider's figures arrive."""
    with StatsdListener("airflow.ray.") as listener:
        yield listener


@pytest.fixture(scope="session")
def airflow(
    ray_head: RayHead, proxy: FaultProxy, statsd: StatsdListener
) -> Iterator[AirflowDeployment]:
    """Scheduler, triggerer, DAG processor and API server, with two connections to one Ray."""
    connections = {
        "ray_default": {
            "conn_type": "ray",
            "host": "127.0.0.1",
            "port": ray_head.dashboard_port,
        },
        "ray_proxied": {"conn_type": "ray", "host": proxy.url},
    }
    config = {
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__RAY__DEPLOYMENT": "system-tests",
        # Longer than the tests of kills wait, which must not be saved by the collector.
        "AIRFLOW__RAY__COLLECT_INTERVAL": "16",
        "AIRFLOW__RAY__COLLECT_GONE_AFTER": "20",
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(statsd.port),
    }
    if Version(airflow_version) < Version("3.3"):  # whose audit log hides nothing else
        config["AIRFLOW__CORE__SENSITIVE_VAR_CONN_NAMES"] = "headers,cookies,planted"
    with AirflowDeployment(
        EXAMPLES, HERE / "dags", connections=connections, config=config, parallelism=6
    ) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def executor(ray_head: RayHead) -> RayJobExecutor:
    """The way past Airflow to the same cluster."""
    return RayJobExecutor(ray_head.dashboard_url)
