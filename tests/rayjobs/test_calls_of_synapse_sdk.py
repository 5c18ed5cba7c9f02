"""What people who come from synapse-sdk's executors call."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from types import ModuleType

import pytest

from airflow_synapse.exceptions import (
    PluginManifestError,
    RayJobFailedError,
    RayJobNotFoundError,
    RayJobTimeoutError,
)
from airflow_synapse.plugin.entrypoints import entrypoint_of
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.job.results import result_file
from airflow_synapse.rayjobs.models import ACTION_KEY
from tests.support.stub_dashboard import StubDashboard, encode
from tests.support.stub_jobs import NEVER

CODE = """
class TrainAction:
    class Inner: ...

def train(): ...
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[tuple[Path, ModuleType]]:
    """A plugin folder, and its module as a user's program has imported it."""
    folder = tmp_path / "plugin"
    (folder / "code").mkdir(parents=True)
    (folder / "config.yaml").write_text(
        "name: p\nactions: {train: {entrypoint: 'code.m:TrainAction', params: {required: [n]}}}\n"
    )
    (folder / "code" / "m.py").write_text(CODE)
    spec = importlib.util.spec_from_file_location("plugin_code_m", folder / "code" / "m.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["plugin_code_m"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield folder, module
    del sys.modules["plugin_code_m"]


def test_class_is_submitted_as_the_action_that_runs_it(
    stub_dashboard: StubDashboard, plugin: tuple[Path, ModuleType]
) -> None:
    """Its params are checked against the action's schema, and the job has the action's name."""
    folder, module = plugin
    executor = RayJobExecutor(stub_dashboard.url, working_dir=folder)

    job_id = executor.submit(module.TrainAction, {"n": 1})

    assert stub_dashboard.jobs[job_id].request["metadata"][ACTION_KEY] == "train"


def test_function_that_no_action_names_is_its_entrypoint(
    stub_dashboard: StubDashboard, plugin: tuple[Path, ModuleType]
) -> None:
    """The module is named by its file in the folder, whatever it is called here."""
    folder, module = plugin
    executor = RayJobExecutor(stub_dashboard.url, working_dir=folder)

    job_id = executor.submit(module.train)

    assert stub_dashboard.jobs[job_id].request["metadata"][ACTION_KEY] == "code.m:train"


def test_class_of_elsewhere_is_refused(plugin: tuple[Path, ModuleType]) -> None:
    """What is not in the folder is not sent, so the job could not import it."""
    folder, module = plugin

    assert entrypoint_of(module.TrainAction.Inner, folder) == "code.m:TrainAction.Inner"
    with pytest.raises(PluginManifestError, match="does not contain the module of Path"):
        entrypoint_of(Path, folder)
    with pytest.raises(PluginManifestError):
        entrypoint_of(dict, folder)


def test_result_can_be_waited_for(stub_dashboard: StubDashboard) -> None:
    """One call instead of two. If time runs out, the job keeps running."""
    stub_dashboard.add_job("j", runtime=0.3)
    stub_dashboard.add_job("long", runtime=NEVER)
    stub_dashboard.files[result_file("j")] = encode({"result": 7})
    executor = RayJobExecutor(stub_dashboard.url)

    assert executor.get_result("j", timeout=30) == 7
    with pytest.raises(RayJobTimeoutError):
        executor.get_result("long", timeout=0.1)
    assert stub_dashboard.jobs["long"].status == "RUNNING"


def test_wait_takes_an_interval(stub_dashboard: StubDashboard) -> None:
    """In the place that synapse-sdk gives it."""
    stub_dashboard.add_job("j", runtime=0.2)

    assert RayJobExecutor(stub_dashboard.url).wait("j", 30, 0.05) == "SUCCEEDED"


async def test_lines_come_on_the_caller_s_loop(stub: StubDashboard) -> None:
    """All of them, in order; the generator ends with the job."""
    stub.add_job("j", log=((0.0, b"a\nb\n"), (0.1, b"c\n")), runtime=0.2, has_header=False)

    executor = RayJobExecutor(stub.url)

    assert [line async for line in executor.stream_logs_async("j")] == ["a", "b", "c"]


async def test_reader_may_leave_before_the_end(stub: StubDashboard) -> None:
    """The watch is cancelled, and nothing of it stays."""
    stub.add_job("j", log=((0.0, b"a\n"),), runtime=NEVER, has_header=False)
    before = asyncio.all_tasks()

    async with aclosing(RayJobExecutor(stub.url).stream_logs_async("j")) as lines:
        assert await anext(lines) == "a"

    assert asyncio.all_tasks() - before == set()


async def test_unknown_job_is_an_error_on_the_loop_too(stub: StubDashboard) -> None:
    """As in the synchronous stream."""
    stub.add_job("bad", status="FAILED", has_header=False)

    with pytest.raises(RayJobNotFoundError):
        _ = [line async for line in RayJobExecutor(stub.url).stream_logs_async("none")]
    assert [line async for line in RayJobExecutor(stub.url).stream_logs_async("bad")] == []
    with pytest.raises(RayJobFailedError):
        await asyncio.to_thread(RayJobExecutor(stub.url).get_result, "bad")
