"""Jobs live through tokens that change every two seconds, the same on the stub dashboard and on a real Ray."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_synapse.hooks.ray_job import RayJobHook
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.job.results import result_file
from airflow_synapse.triggers.ray_job import RayJobTrigger
from tests.support.raw_dashboard import Dashboard
from tests.support.token_proxy import TokenProxy

pytestmark = pytest.mark.timeout(240)

EVERY = 2.0
LINES = [f"line {number}" for number in range(50)]
ACTION = """
import time

def work():
    for number in range(50):
        print("line", number, flush=True)
        time.sleep(0.1)
    return "done"
"""

Renew = Callable[[str], object]


@pytest.fixture
def proxy(dashboard: Dashboard) -> Iterator[TokenProxy]:
    with TokenProxy(dashboard.url, hides_agents=True) as proxy:
        yield proxy


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """An action of five seconds, with a file that takes a while to upload."""
    folder = tmp_path / "plugin"
    folder.mkdir()
    (folder / "config.yaml").write_text(
        "name: tokens\nactions: {work: {entrypoint: 'actions:work'}}\n"
    )
    (folder / "actions.py").write_text(ACTION)
    (folder / "data.bin").write_bytes(random.Random(7).randbytes(5_000_000))
    return folder


@pytest.fixture(params=["file", "callable"])
def way(
    request: pytest.FixtureRequest, proxy: TokenProxy, plugin: Path, tmp_path: Path
) -> tuple[RayJobExecutor, Renew]:
    """An executor that gets its token in one of two ways, and what renews it there."""
    if request.param == "callable":
        return RayJobExecutor(proxy.url, working_dir=plugin, token=lambda: proxy.valid), str
    path = tmp_path / "token"
    path.write_text(proxy.valid)
    return RayJobExecutor(proxy.url, working_dir=plugin, token_file=path), path.write_text


def connect(monkeypatch: pytest.MonkeyPatch, proxy: TokenProxy, token: str) -> None:
    connection = {"conn_type": "ray", "host": proxy.url, "password": token}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_DEFAULT", json.dumps(connection))


def play(dashboard: Dashboard, job_id: str) -> None:
    """Tell the stub how the job goes."""
    if dashboard.stub is not None:
        log = tuple((0.1 * number, f"{line}\n".encode()) for number, line in enumerate(LINES))
        dashboard.stub.script(job_id, log=log, runtime=5.2)
        dashboard.stub.files[result_file(job_id)] = json.dumps({"result": "done"}).encode()


def lines_of_job(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("line ")]


def test_job_lives_through_all_tokens(
    dashboard: Dashboard, proxy: TokenProxy, way: tuple[RayJobExecutor, Renew]
) -> None:
    """Upload, submission, log, result: each line comes once, and there is one job."""
    executor, renew = way
    job_id = f"tokens-{uuid.uuid4().hex[:8]}"
    play(dashboard, job_id)

    with proxy.rotating(EVERY, renew):
        assert executor.submit("work", {}, job_id=job_id) == job_id
        lines = list(executor.stream_logs(job_id))
        result = executor.get_result(job_id)
        job = executor.get_info(job_id)

    assert lines_of_job(lines) == LINES
    assert result == "done"
    assert job.status == "SUCCEEDED"
    assert int(proxy.valid.removeprefix("token-")) >= 2


async def test_triggers_live_through_all_tokens(
    dashboard: Dashboard, proxy: TokenProxy, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deferred tasks that share a connection, which is edited again and again, all end well."""
    connect(monkeypatch, proxy, proxy.valid)
    jobs = [f"trigger-{uuid.uuid4().hex[:8]}" for _ in range(3)]
    hook = RayJobHook(working_dir=plugin)

    def submit(job_id: str) -> None:
        play(dashboard, job_id)
        hook.submit("work", {}, job_id=job_id)

    with proxy.rotating(EVERY, lambda token: connect(monkeypatch, proxy, token)):
        for job_id in jobs:
            await asyncio.to_thread(submit, job_id)
        events = await asyncio.gather(*(event_of(RayJobTrigger(job_id)) for job_id in jobs))

    assert [event["status"] for event in events] == ["SUCCEEDED"] * 3
    assert [event["result"] for event in events] == ["done"] * 3
    assert "token-" not in json.dumps(events)


async def event_of(trigger: RayJobTrigger) -> dict[str, Any]:
    (event,) = [event.payload async for event in trigger.run()]
    return event
