"""What answers at a cluster's address may be no Ray dashboard, or a proxy that lets only some requests through."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_synapse.exceptions import (
    RayAddressError,
    RayAuthenticationError,
    RayClusterUnreachableError,
    RayJobSubmissionError,
)
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.base_executor import BaseRayExecutor
from airflow_synapse.rayjobs.models import RayCluster
from airflow_synapse.rayjobs.watching.cluster_watch import shared_watch
from airflow_synapse.rayjobs.watching.job_watcher import JobWatcher, WatchOptions
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer, Fault
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard

LOGGER = logging.getLogger("the task's log")
HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGE = Answer(200, b"<html>Welcome to nginx!", HTML)
NO_PAGE = Answer(404, b"<html>404 Not Found", HTML)
EMPTY_OBJECT = Answer(200, b"{}", {"Content-Type": "application/json"})
QUICK = replace(FAST_PACE, wrong_server=0.2, no_route=0.2)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseRayExecutor, "pace", QUICK)


def patient(stub: StubDashboard) -> RayJobExecutor:
    return RayJobExecutor(stub.url, unreachable_timeout=600)


@pytest.mark.parametrize("fault", [PAGE, NO_PAGE, EMPTY_OBJECT])
def test_another_web_server_is_not_waited_for(stub_dashboard: StubDashboard, fault: Fault) -> None:
    """Also somebody with patience learns soon that the address is wrong."""
    stub_dashboard.inject(fault, times=None)

    with pytest.raises(RayAddressError, match="something other than a Ray dashboard answers there"):
        patient(stub_dashboard).submit_entrypoint("true")


@pytest.mark.parametrize("fault", [PAGE, NO_PAGE, EMPTY_OBJECT])
def test_page_of_a_proxy_is_outlasted(
    stub_dashboard: StubDashboard, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy answers like that for a moment, too, while its dashboard starts."""
    monkeypatch.setattr(BaseRayExecutor, "pace", FAST_PACE)
    stub_dashboard.inject(fault, times=3)

    assert patient(stub_dashboard).submit_entrypoint("true")


@pytest.mark.parametrize("fault", [PAGE, EMPTY_OBJECT])
def test_impatient_call_says_what_to_check(stub_dashboard: StubDashboard, fault: Fault) -> None:
    """It can't know whether the answer will be the same in a moment."""
    stub_dashboard.inject(fault, times=None)

    with pytest.raises(
        RayClusterUnreachableError, match="Something other than a Ray dashboard may"
    ):
        RayJobExecutor(stub_dashboard.url).get_status("j")


@pytest.mark.parametrize("fault", [PAGE, NO_PAGE])
def test_route_that_a_proxy_keeps_back_is_named(
    stub_dashboard: StubDashboard, fault: Fault
) -> None:
    """Where only one route is missing, Ray is there, and the proxy has to be told."""
    stub_dashboard.inject(fault, times=None, route=routes.LIST_JOBS)

    with pytest.raises(RayAddressError, match="a Ray dashboard answers there, but not to every"):
        patient(stub_dashboard).list_jobs()


@pytest.mark.parametrize(
    ("status", "kind"), [(403, RayAuthenticationError), (405, RayAddressError)]
)
def test_refusal_of_a_proxy_names_the_route(
    stub_dashboard: StubDashboard, tmp_path: Path, status: int, kind: type[Exception]
) -> None:
    """A web page instead of Ray's own words is probably the proxy's."""
    fault = Answer(status, b"<html>Forbidden", HTML)
    stub_dashboard.inject(fault, times=None, route=routes.PUT_PACKAGE)
    executor = RayJobExecutor(stub_dashboard.url, working_dir=a_folder(tmp_path))

    with pytest.raises(kind, match="must let PUT /api/packages/ through"):
        executor.submit_entrypoint("true")


def test_nothing_is_said_of_a_job_that_was_not_sent(stub_dashboard: StubDashboard) -> None:
    """Where the first question is refused, no job may still be running."""
    stub_dashboard.inject(Answer(403, b"<html>", HTML), times=None)

    with pytest.raises(RayAuthenticationError) as caught:
        RayJobExecutor(stub_dashboard.url).submit_entrypoint("true")

    assert "still be running" not in str(caught.value)


async def test_watch_ends_where_another_web_server_answers(stub: StubDashboard) -> None:
    """It is given up long before the cluster would be, and the job goes on."""
    stub.add_job("j", runtime=60)
    stub.inject(PAGE, times=None, after=3)

    with pytest.raises(RayAddressError, match="something other than a Ray dashboard answers there"):
        await watched(stub, "j")


async def test_watch_outlasts_a_job_s_own_odd_answers(stub: StubDashboard) -> None:
    """Where Ray itself answers, the job's answers may become usable again."""
    stub.add_job("j", runtime=0.0)
    stub.inject(PAGE, times=40, route=routes.GET_JOB)

    await asyncio.wait_for(watched(stub, "j"), 60)


async def watched(stub: StubDashboard, job_id: str) -> None:
    async with shared_watch(RayCluster(stub.url), pace=QUICK) as watch:
        options = WatchOptions(poll_interval=0.05, stream_logs=False)
        watcher = JobWatcher(watch, job_id, options=options, emit=lambda _: None, logger=LOGGER)
        await watcher.watch()


# Uploads


def a_folder(tmp_path: Path) -> Path:
    (tmp_path / "data.bin").write_bytes(bytes(range(256)) * 8192)
    return tmp_path


def a_zip(tmp_path: Path, size: int) -> Path:
    path = tmp_path / "code.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.bin", bytes(size))
    return path


def test_upload_that_a_proxy_finds_too_large_is_told_with_its_size(
    stub_dashboard: StubDashboard, tmp_path: Path
) -> None:
    """Whose limit it is, and that it is not Ray's, is told. Waiting would not help."""
    too_large = Answer(413, b"<html>Request Entity Too Large", {**HTML, "Server": "nginx/1.25"})
    stub_dashboard.inject(too_large, times=None, route=routes.PUT_PACKAGE)
    executor = RayJobExecutor(
        stub_dashboard.url, working_dir=a_zip(tmp_path, 3 * 1024**2), unreachable_timeout=600
    )

    with pytest.raises(
        RayJobSubmissionError, match=r"3\.0 MiB.* 413 .*nginx/1\.25.*100 MiB.*client_max_body_size"
    ):
        executor.submit_entrypoint("true")


class RudeProxy:
    """Answers an upload with 413 and hangs up, without reading it. Nothing else exists there."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(1024)
            if head.startswith(b"PUT"):
                client.sendall(
                    b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                return
            answer = b"Package x does not exist" if b"/packages/" in head else b"Job does not exist"
            client.sendall(
                b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
                % (len(answer), answer)
            )

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def rude_proxy() -> Iterator[RudeProxy]:
    proxy = RudeProxy()
    yield proxy
    proxy.close()


def test_upload_that_a_proxy_cuts_off_is_told_likewise(
    rude_proxy: RudeProxy, tmp_path: Path
) -> None:
    """A proxy that does not read what it refuses may break the connection before its answer arrives."""
    executor = RayJobExecutor(
        rude_proxy.url, working_dir=a_zip(tmp_path, 30 * 1024**2), unreachable_timeout=30
    )

    with pytest.raises(RayJobSubmissionError, match=r"30\.0 MiB.* 413"):
        executor.submit_entrypoint("true")
