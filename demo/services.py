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


@contextmanager
def running(screen: Screen) -> Iterator[tuple[RayHead, AirflowDeployment]]:
    """Give both, ready; stop every process of theirs at the end, whatever happens."""
    ray = RayHead(num_cpus=2, on_progress=screen.note)
    airflow = AirflowDeployment(DAGS, on_progress=screen.note)
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor())
        stack.callback(ray.close)
        stack.callback(airflow.close)
        starts = [pool.submit(service.__enter__) for service in (ray, airflow)]
        for start in starts:
            start.result()
        airflow.cli(
            "connections", "add", "ray_default", "--conn-type", "ray",
            "--conn-host", ray.dashboard_url,
        )  # fmt: skip
        yield ray, airflow
