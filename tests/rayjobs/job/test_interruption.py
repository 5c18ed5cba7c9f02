"""An interrupted submission sends nothing any more, and leaves no job that nobody knows of."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import threading
import types
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.client.jobs_api import jobs_api
from airflow_synapse.rayjobs.crossing import Crossing, Interruption
from airflow_synapse.rayjobs.job.submission import submit, upload
from airflow_synapse.rayjobs.models import JobSpec, RayCluster
from airflow_synapse.rayjobs.packing import packages
from airflow_synapse.rayjobs.packing.preparation import PreparedJob
from tests.support import stub_dashboard as routes
from tests.support.faults import Delay
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER

if TYPE_CHECKING:
    from aiohttp import web

SPEC = JobSpec("true")


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("name: p\nactions: {run: {entrypoint: 'actions:run'}}\n")
    return tmp_path


@pytest.fixture
def jobs(plugin: Path) -> list[PreparedJob]:
    """Jobs that each have a package of their own to send."""
    manifest = (plugin / "config.yaml").read_bytes()
    prepared = []
    for number in range(120):
        folder = plugin / str(number)
        folder.mkdir()
        (folder / "config.yaml").write_bytes(manifest)
        (folder / "different").write_text(str(number))
        executor = RayJobExecutor("http://ray:8265", working_dir=folder)
        prepared.append(executor.prepare_action("run"))
    return prepared


@types.coroutine
def cancelled_at(step: int, work: Coroutine[Any, Any, None]) -> Iterator[Any]:
    """Do the work, and cancel the task when it waits for the so-many-th time."""
    task = asyncio.current_task()
    assert task is not None
    resume: Callable[[], Any] = partial(work.send, None)
    for number in count():
        try:
            waits_for = resume()
        except StopIteration:
            return
        if number == step:
            asyncio.get_running_loop().call_soon(task.cancel)
        try:
            yield waits_for
        except BaseException as exc:
            resume = partial(work.throw, exc)
        else:
            resume = partial(work.send, None)


async def test_cancellation_at_every_step(stub: StubDashboard, jobs: list[PreparedJob]) -> None:
    """Wherever it falls, nothing is sent after it; what was sent before is there when it has passed."""
    stub.script(runtime=NEVER)
    sent: list[str] = []
    was_cancelled = []
    async with jobs_api(RayCluster(stub.url)) as api:

        async def send(job: PreparedJob, job_id: str) -> None:
            for package in job.packages:
                await upload(api, package)
            await submit(api, SPEC, job_id, on_sent=lambda: sent.append(job_id))

        async def send_and_be_cancelled(step: int, job: PreparedJob) -> None:
            await cancelled_at(step, send(job, f"job-{step}"))

        for step, job in enumerate(jobs):
            sending = asyncio.create_task(send_and_be_cancelled(step, job))
            await asyncio.wait({sending})
            was_cancelled.append(sending.cancelled())
            assert (f"job-{step}" in stub.jobs) is (f"job-{step}" in sent)

    assert was_cancelled == sorted(was_cancelled, reverse=True)
    assert any(was_cancelled)
    assert not all(was_cancelled), "there are more steps than this test has jobs"


async def test_cancellation_while_the_request_is_under_way(stub: StubDashboard) -> None:
    """It passes once Ray has answered, and by then the job is there."""
    stub.script(runtime=NEVER)
    stub.inject(Delay(0.2), route=routes.SUBMIT)
    sent = asyncio.Event()
    async with jobs_api(RayCluster(stub.url)) as api:
        sending = asyncio.create_task(submit(api, SPEC, "j", on_sent=sent.set))
        await sent.wait()

        for _ in range(3):  # whoever cancels again can't hurry Ray
            sending.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await sending

    assert list(stub.jobs) == ["j"]


async def test_cancelled_upload_leaves_no_file(
    stub: StubDashboard,
    jobs: list[PreparedJob],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The zip that a thread is still writing is deleted once it is written."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    has_begun, may_end = threading.Event(), threading.Event()
    write = packages._write_zip

    def write_slowly(*args: Any) -> str:
        has_begun.set()
        may_end.wait(60)
        return write(*args)

    monkeypatch.setattr(packages, "_write_zip", write_slowly)
    async with jobs_api(RayCluster(stub.url)) as api:
        uploading = asyncio.create_task(upload(api, jobs[0].packages[0]))
        await asyncio.to_thread(has_begun.wait, 60)

        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading
        may_end.set()
        await asyncio.get_running_loop().shutdown_default_executor()

    assert not list(tmp_path.glob("airflow-synapse-*"))


class BusyHead(StubDashboard):
    """As Ray's: it has read the request, and waits for an agent to hand it to."""

    async def _submit(self, request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(0.5)
        return await super()._submit(request)


async def test_cancelled_submission_looks_for_a_job_whose_answer_was_lost() -> None:
    """It does not send it again, but waits for the job to appear."""
    async with BusyHead() as stub, jobs_api(RayCluster(stub.url, request_timeout=0.1)) as api:
        stub.script(runtime=NEVER)
        sending = asyncio.create_task(submit(api, SPEC, "j"))
        while not stub.count(routes.SUBMIT):
            await asyncio.sleep(0)

        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

        assert list(stub.jobs) == ["j"]
        assert stub.count(routes.SUBMIT) == 1


@contextmanager
def interrupted_once(is_so: Callable[[], bool]) -> Iterator[None]:
    """Press Ctrl-C once it is so."""
    is_over = threading.Event()

    def press() -> None:
        while not is_so():
            if is_over.wait(0.01):
                return
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        is_over.set()
        pressing.join()


def test_ctrl_c_during_an_upload_submits_nothing(
    stub_dashboard: StubDashboard, plugin: Path
) -> None:
    """The call ends at once, although the cluster takes its time."""
    stub_dashboard.inject(Delay(60), route=routes.PUT_PACKAGE)
    executor = RayJobExecutor(stub_dashboard.url, working_dir=plugin)

    with interrupted_once(lambda: stub_dashboard.count(routes.PUT_PACKAGE) > 0):
        executor.submit("run")

    assert stub_dashboard.count(routes.SUBMIT) == 0


@pytest.mark.parametrize("is_entered", [False, True])
def test_ctrl_c_during_a_submission_stops_the_job(
    stub_dashboard: StubDashboard, is_entered: bool
) -> None:
    """Nobody has learned its ID, so nobody else could."""
    stub_dashboard.script(runtime=NEVER)
    stub_dashboard.inject(Delay(0.3), route=routes.SUBMIT)
    executor = RayJobExecutor(stub_dashboard.url)

    with interrupted_once(lambda: stub_dashboard.count(routes.SUBMIT) > 0):
        if is_entered:
            with executor:
                executor.submit_entrypoint("sleep 9e9")
        executor.submit_entrypoint("sleep 9e9")

    assert [job.status for job in stub_dashboard.jobs.values()] == ["STOPPED"]


def test_interruption_ends_calls_from_another_thread() -> None:
    """The call under way ends, and each later one as it begins."""
    interruption, has_begun = Interruption(), threading.Event()

    async def wait() -> None:
        has_begun.set()
        await asyncio.sleep(3600)

    def come() -> None:
        has_begun.wait(60)
        interruption.come()

    threading.Thread(target=come).start()
    with Crossing() as crossing:
        with pytest.raises(asyncio.CancelledError):
            crossing.call(wait, interruption)
        with pytest.raises(asyncio.CancelledError):
            crossing.call(wait, interruption)


def test_call_has_ended_when_its_exception_comes_out() -> None:
    """Nothing goes on behind the caller's back, also where a crossing stays open."""
    is_clean = threading.Event()

    async def careful() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.05)
            is_clean.set()

    with Crossing() as crossing:
        with pytest.raises(KeyboardInterrupt):
            crossing.call(careful)
        assert is_clean.is_set()
