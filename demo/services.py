"""A Ray head and an Airflow that uses it, started side by side."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from demo.screen import Screen
from local_services.airflow_deployment import AirflowDeployment
from local_services.ray_head import RayHead

DAGS = Path(__file__).parents[1] / "dags_examples"
_CONFIG = {"AIRFLOW__CORE__TEST_CONNECTION": "Enabled"}
"""The button that tests a connection, which Airflow leaves out by default."""


@contextmanager
def running(screen: Screen, own_dags: Path) -> Iterator[tuple[RayHead, AirflowDeployment]]:
    """Give both, ready; stop every process of theirs at the end, whatever happens.

    :param own_dags: A folder with further DAGs.
    """
    ray = RayHead(num_cpus=2, on_progress=screen.note)
    airflow = AirflowDeployment(DAGS, own_dags, config=_CONFIG, on_progress=screen.note)
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor())
        stack.callback(ray.close)
        stack.callback(airflow.close)
        starts = [pool.submit(service.__enter__) for service in (ray, airflow)]
        for start in starts:
            start.result()
        airflow.cli(
            "connections", "add", "ray_default", "--conn-type", "ray",
            "--conn-host", "127.0.0.1", "--conn-port", str(ray.dashboard_port),
        )  # fmt: skip
        yield ray, airflow
