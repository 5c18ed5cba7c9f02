"""Runs Python functions as Ray jobs: with other tasks' results, several outputs, one job per value."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, task

with DAG(
    "task_ray",
    description=__doc__,
    schedule=None,
    tags=["ray", "example"],
    default_args={
        "deferrable": True,
        "num_cpus": 0.1,
        "poll_interval": 1,
        "retries": 2,
        "retry_delay": timedelta(seconds=5),
    },
):
    # [start functions]
    @task
    def measure() -> list[float]:
        """Run in the worker, like any other task."""
        return [3.0, 5.0, 10.0]

    @task.ray(multiple_outputs=True)
    def describe(values: list[float]) -> dict[str, float]:
        """Run as a Ray job: the list is sent as JSON, and each key becomes an XCom."""
        import statistics

        print(f"{len(values)} values")
        return {"mean": statistics.mean(values), "largest": max(values)}

    @task.ray
    def compare(value: float, mean: float, run_id: str | None = None) -> str:
        """Run as one Ray job per value. ``run_id`` comes from Airflow's context."""
        return f"{value} is {value / mean:.2f} times the mean of {run_id}"

    values = measure()
    described = describe(values)
    compare.partial(mean=described["mean"]).expand(value=values)
    # [end functions]
