"""What a type checker says of decorated functions. Read by mypy, which runs over this file; never run."""

from __future__ import annotations

from airflow.sdk import task

from airflow_synapse.decorators.ray import ray_task


@ray_task
def bare(a: int) -> int:
    return a


@ray_task(num_cpus=2, requirements=["numpy"], multiple_outputs=True, retries=3)
def full(a: int, b: str = "b") -> dict[str, int]:
    return {b: a}


@task.ray(num_cpus=2)
def by_airflow(a: int) -> int:
    return a


def use() -> None:
    full(bare(1), "b")  # type: ignore[arg-type]  # an XCom of an int; Airflow's own types know no better
    full(1, b=2)  # type: ignore[arg-type]
    full.expand(a=[1, 2])
    by_airflow(1)
    ray_task(num_cpus=[2])  # type: ignore[call-overload]
