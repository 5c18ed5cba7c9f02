"""The same package is sent once, however many tasks start at once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.job.sole_upload import sole_upload
from tests.support import stub_dashboard as routes
from tests.support.faults import Delay
from tests.support.stub_dashboard import StubDashboard

URI, ADDRESS = "gcs://_ray_pkg_0.zip", "http://head:8265"


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Locks of this test are its own."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


async def test_one_at_a_time() -> None:
    """The second waits until the first is through."""
    order: list[str] = []

    async def send(name: str) -> None:
        async with sole_upload(URI, ADDRESS):
            order.append(f"{name} begins")
            await asyncio.sleep(0.02)
            order.append(f"{name} ends")

    await asyncio.gather(*(send(name) for name in "abc"))

    assert [word.split()[1] for word in order] == ["begins", "ends"] * 3


@pytest.mark.parametrize("other", [("gcs://_ray_pkg_1.zip", ADDRESS), (URI, "http://other:8265")])
async def test_other_packages_and_clusters_do_not_wait(other: tuple[str, str]) -> None:
    """Only the same package to the same cluster is sent one after the other."""
    async with sole_upload(URI, ADDRESS), sole_upload(*other):
        pass


async def test_nobody_waits_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    """A task that hangs while it sends keeps no other from sending."""
    async with sole_upload(URI, ADDRESS), sole_upload(URI, ADDRESS, longest_wait=0.05):
        pass

    assert "is sent once more" in caplog.text


async def test_who_is_cancelled_leaves_no_lock() -> None:
    """Neither while it waits nor while it sends."""

    async def send() -> None:
        async with sole_upload(URI, ADDRESS):
            await asyncio.sleep(3600)

    tasks = [asyncio.create_task(send()) for _ in range(3)]
    await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    async with sole_upload(URI, ADDRESS):
        pass


async def test_lock_goes_with_its_process(temporary_folder: Path) -> None:
    """A worker that is killed while it sends keeps nobody from sending."""
    script = (
        "import asyncio, os, sys, tempfile\n"
        f"tempfile.tempdir = {str(temporary_folder)!r}\n"
        "from airflow_synapse.rayjobs.job.sole_upload import sole_upload\n"
        "async def main():\n"
        f"    async with sole_upload({URI!r}, {ADDRESS!r}):\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    killed = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], check=False)
    assert killed.returncode == -9

    async with sole_upload(URI, ADDRESS):
        pass


async def test_folder_of_somebody_else_is_not_used(
    temporary_folder: Path,
) -> None:
    """A link that another user planted leads nowhere, and sending goes on without a lock."""
    elsewhere = temporary_folder / "elsewhere"
    elsewhere.mkdir()
    (temporary_folder / f"airflow-synapse-{os.getuid()}").symlink_to(elsewhere)

    async with sole_upload(URI, ADDRESS), sole_upload(URI, ADDRESS):
        pass

    assert list(elsewhere.iterdir()) == []


async def test_twenty_tasks_send_a_package_once(
    stub_dashboard: StubDashboard, tmp_path: Path
) -> None:
    """Each of them starts its job."""
    plugin = tmp_path / "plugin"
    plugin.mkdir()
    (plugin / "model.bin").write_bytes(bytes(range(256)) * 8192)
    stub_dashboard.inject(Delay(0.3), route=routes.PUT_PACKAGE)

    def submit(number: int) -> None:
        executor = RayJobExecutor(stub_dashboard.url, working_dir=plugin)
        executor.submit_entrypoint("true", job_id=f"j{number}")

    await asyncio.gather(*(asyncio.to_thread(submit, number) for number in range(20)))

    assert stub_dashboard.count(routes.PUT_PACKAGE) == 1
    assert len(stub_dashboard.jobs) == 20
