"""What importing costs a DAG file and the triggerer."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.environments import OURS, clean_environment
from benchmarks.tables import Table, ratio

_REPEATS = 7

_CODE = """
import json, resource, time
began = time.perf_counter()
{imports}
seconds = time.perf_counter() - began
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""

_SDK = "from airflow.sdk import DAG, BaseOperator, BaseSensorOperator, Context"
_TRIGGERS = "from airflow.triggers.base import BaseTrigger"


def import_modules(astro: Path) -> Table:
    """Import what DAG files and triggerers do, in fresh processes."""
    ours = "from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator"
    sensor = "from airflow_synapse.sensors.ray_job import RayJobSensor"
    trigger = "from airflow_synapse.triggers.ray_job import RayJobTrigger"
    cases = [
        ("airflow.sdk alone", OURS, _SDK, None),
        ("+ our operators and sensor", OURS, f"{_SDK}\n{ours}\n{sensor}", 0),
        ("airflow.sdk alone, astro's environment", astro, _SDK, None),
        (
            "+ astro's operators",
            astro,
            f"{_SDK}\nfrom ray_provider.operators import SubmitRayJob",
            2,
        ),
        ("airflow.triggers.base alone", OURS, _TRIGGERS, None),
        ("+ our trigger", OURS, f"{_TRIGGERS}\n{trigger}", 4),
        ("airflow.triggers.base alone, astro's environment", astro, _TRIGGERS, None),
        (
            "+ astro's trigger",
            astro,
            f"{_TRIGGERS}\nfrom ray_provider.triggers import RayJobTrigger",
            6,
        ),
    ]
    found: list[list[tuple[float, float]]] = [[] for _ in cases]
    for _ in range(_REPEATS):
        for (_, python, imports, _), results in zip(cases, found, strict=True):
            results.append(_import(python, imports))
    medians = [
        (median(seconds for seconds, _ in results), median(memory for _, memory in results))
        for results in found
    ]
    table = Table(
        "Importing",
        ("what", "seconds", "of what it adds to", "memory of the process (MB)"),
        f"Medians of {_REPEATS} fresh processes, taken in turn.",
    )
    for (name, _, _, base), (seconds, memory) in zip(cases, medians, strict=True):
        table.add(name, seconds, "" if base is None else ratio(seconds, medians[base][0]), memory)
    return table


def _import(python: Path, imports: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [python, "-c", _CODE.format(imports=imports)],
            env=clean_environment(Path(home)),
            capture_output=True,
            text=True,
            check=True,
        )
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory
