"""Logs that do all that a log must not do, on a real Ray, over both ways in which logs are read."""

from __future__ import annotations

import logging
import shlex
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.client.agents import UNUSABLE
from airflow_synapse.rayjobs.job.outcome import Outcome
from airflow_synapse.rayjobs.watching.job_watcher import WatchOptions
from local_services.ray_head import RayHead

pytestmark = pytest.mark.timeout(180)

LOGGER = logging.getLogger("hostile")


@pytest.fixture(params=["agent", "dashboard"], autouse=True)
def way(request: pytest.FixtureRequest, ray_head: RayHead) -> str:
    """The agent on the job's node serves ranges of files; where it can't be reached, all is read."""
    if request.param == "dashboard":
        executor = RayJobExecutor(ray_head.dashboard_url)
        job_id = executor.submit_entrypoint("true")
        executor.wait(job_id, timeout_seconds=60)
        UNUSABLE.note_failure(executor.get_info(job_id).driver_agent_http_address or "")
    return str(request.param)


@pytest.fixture
def executor(ray_head: RayHead) -> RayJobExecutor:
    return RayJobExecutor(ray_head.dashboard_url)


def python(code: str) -> str:
    return f"python -c {shlex.quote(code)}"


def own_lines(lines: Sequence[str]) -> list[str]:
    """Return the lines without those that Ray itself writes around a job."""
    rays = ("Runtime env is setting up.", "Running entrypoint for job ")
    return [line for line in lines if not any(ray in line for ray in rays)]


def test_line_of_twenty_megabytes_is_cut(executor: RayJobExecutor) -> None:
    """The line comes with its size, cut, and what follows comes whole."""
    size = 20 * 1024 * 1024
    code = f"print('x' * {size}); print('next'); print('y' * {size}, end='')"

    lines = own_lines(list(executor.stream_logs(executor.submit_entrypoint(python(code)))))

    assert [len(line) < 300_000 for line in lines] == [True, True, True]
    assert lines[0].endswith("… [cut: this line has 20,971,520 bytes]")
    assert lines[1] == "next"
    assert lines[2].startswith("yyy")
    assert lines[2].endswith("… [cut: this line has 20,971,520 bytes]")


def test_flush_inside_a_character(executor: RayJobExecutor) -> None:
    """A character that is written in halves comes whole."""
    text = "'✓ ä 🎉\\n'.encode() * 3"
    writing = "(out.write(bytes([byte])), out.flush(), time.sleep(.1))"
    # Ray writes its own line without flushing it, so a byte that comes at once may come before that line.
    code = (
        f"import sys, time; time.sleep(2); out = sys.stdout.buffer; [{writing} for byte in {text}]"
    )

    lines = list(executor.stream_logs(executor.submit_entrypoint(python(code))))

    assert own_lines(lines) == ["✓ ä 🎉"] * 3


def test_nothing_at_all(executor: RayJobExecutor) -> None:
    """A job that prints nothing ends with nothing but Ray's own lines."""
    assert own_lines(list(executor.stream_logs(executor.submit_entrypoint("true")))) == []


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_log_that_goes_away_is_told_once(
    ray_head: RayHead,
    executor: RayJobExecutor,
    caplog: pytest.LogCaptureFixture,
    harm: Callable[[Path], object],
) -> None:
    """A log that is deleted or emptied while it is read is one warning; the job's end still counts."""
    job_id = executor.submit_entrypoint("exec >&-; sleep 8; exit 7")
    is_all_written = threading.Event()
    watched: list[Outcome] = []

    def look(lines: Sequence[str]) -> None:
        # The last line that Ray writes; one that came after the harm would mend the log.
        if any(line.startswith("Running entrypoint for job ") for line in lines):
            is_all_written.set()

    def watch() -> None:
        options = WatchOptions(poll_interval=0.5)
        watched.append(executor.watch(job_id, options=options, emit=look, logger=LOGGER))

    watching = threading.Thread(target=watch)
    watching.start()
    assert is_all_written.wait(60)
    harm(ray_head.logs_dir / f"job-driver-{job_id}.log")
    watching.join(60)

    (outcome,) = watched
    assert outcome.status == "FAILED"
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert f"The log of Ray job {job_id} was read up to byte" in warnings[0]
