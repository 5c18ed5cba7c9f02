"""Actions that use Ray themselves, on a real Ray: as in a script that is submitted as a job."""

from __future__ import annotations

import textwrap
import uuid
from pathlib import Path

import pytest

from airflow_synapse.plugin.function import FunctionSource
from airflow_synapse.rayjobs import RayJobExecutor
from local_services.ray_head import RayHead

pytestmark = pytest.mark.timeout(240)

ACTIONS = """
import os

import ray

from tools import doubled


@ray.remote
class Counter:
    total = 0

    def add(self, n):
        self.total += doubled(n)
        return self.total


def more(n):
    return doubled(n) + 1


def use_ray():
    @ray.remote
    def nested(n):
        return more(n), os.environ.get("OF_THE_ACTION"), os.environ["OF_THE_JOB"]

    counter = Counter.remote()
    return [*ray.get([counter.add.remote(2), ray.remote(more).remote(3)]), *ray.get(nested.remote(4))]


def without_init():
    return use_ray()


def with_runtime_env():
    env = {"env_vars": {"OF_THE_ACTION": "yes"}, "py_modules": [os.path.abspath("shipped")]}
    ray.init(runtime_env=env)

    @ray.remote
    def ask():
        import shipped

        return shipped.ANSWER

    return [*use_ray(), ray.get(ask.remote())]
"""


@pytest.fixture
def executor(ray_head: RayHead, tmp_path: Path) -> RayJobExecutor:
    """An executor for the actions above."""
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped/__init__.py").write_text("ANSWER = 42\n")
    (tmp_path / "tools.py").write_text("def doubled(n):\n    return 2 * n\n")
    (tmp_path / "actions.py").write_text(ACTIONS)
    (tmp_path / "config.yaml").write_text("name: ray_inside\n")
    env = {"OF_THE_JOB": "job"}
    return RayJobExecutor(ray_head.dashboard_url, working_dir=tmp_path, env=env)


@pytest.mark.parametrize(
    ("action", "result"),
    [
        ("without_init", [4, 7, 9, None, "job"]),
        ("with_runtime_env", [4, 7, 9, "yes", "job", 42]),
    ],
)
def test_action_gives_ray_what_a_script_may_give_it(
    executor: RayJobExecutor, action: str, result: list[object]
) -> None:
    """What its ``ray.init`` asks for comes to what the plugin asks for, and its tasks find both."""
    job_id = executor.submit(f"actions:{action}")

    assert executor.wait(job_id, timeout_seconds=120) == "SUCCEEDED"
    assert executor.get_result(job_id) == result


def ship_a_folder() -> list[int]:
    """Ship the folder that it works in to its tasks, actors and itself as a task."""
    import dataclasses
    import pathlib

    import ray

    if ray.is_initialized():  # as a task of itself
        return [7]
    for folder, module in (("folder", "in_the_folder.py"), ("shipped", "__init__.py")):
        pathlib.Path(folder).mkdir(exist_ok=True)
        pathlib.Path(folder, module).write_text("N = 5")
    ray.init(runtime_env={"working_dir": "folder", "py_modules": ["shipped"]})

    @dataclasses.dataclass
    class Number:
        n: int

    @ray.remote
    class Actor:
        def add(self, number: Number) -> Number:
            import in_the_folder
            import shipped

            return Number(number.n + in_the_folder.N + shipped.N)

    added = ray.get(Actor.remote().add.remote(Number(1)))
    return [added.n, *ray.get(ray.remote(ship_a_folder).remote())]


def test_sent_function_needs_no_module_on_the_workers(ray_head: RayHead) -> None:
    """A function that was sent as source may be a task itself, and choose the folder of its tasks."""
    executor = RayJobExecutor(ray_head.dashboard_url)
    job = executor.prepare_function(FunctionSource.of(ship_a_folder))
    job_id = executor.submit_prepared(job, f"ship-a-folder-{uuid.uuid4().hex[:8]}")

    assert executor.wait(job_id, timeout_seconds=120) == "SUCCEEDED"
    assert executor.get_result(job_id) == [11, 7]


def test_crash_in_native_code_shows_where_ray_is_in_use(ray_head: RayHead, tmp_path: Path) -> None:
    """Ray has a handler of its own for such signals."""
    (tmp_path / "config.yaml").write_text("name: crashing\n")
    (tmp_path / "m.py").write_text(
        textwrap.dedent("""\
            import ctypes, ray

            def crash():
                ray.init()
                ctypes.string_at(0)
            """)
    )
    executor = RayJobExecutor(ray_head.dashboard_url, working_dir=tmp_path)
    job_id = executor.submit("m:crash")

    with pytest.raises(Exception, match="139"):
        executor.wait(job_id, timeout_seconds=120)
    assert 'm.py", line 5 in crash' in executor.get_logs(job_id)
