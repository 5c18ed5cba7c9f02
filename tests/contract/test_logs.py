"""What the executor reads of logs, the same on the stub dashboard and on a real Ray."""

from __future__ import annotations

import shlex
import time
import uuid

import pytest

from airflow_synapse.rayjobs import RayJobExecutor
from tests.support.raw_dashboard import Dashboard

pytestmark = pytest.mark.timeout(240)

ODD = (
    b"plain\n\n    indented\n\ttab\nnul \0 and \xff\xfe\n"
    + "ä ✓ 🎉\n".encode()
    + b"\x1b[31mred\x1b[0m\ndos\r\n10%\r50%\r100%\n"
    + b"cut \xe2\x9c\n\n\nlast without newline"
)
ODD_LINES = [
    "plain",
    "",
    "    indented",
    "\ttab",
    "nul \0 and \\xff\\xfe",
    "ä ✓ 🎉",
    "\x1b[31mred\x1b[0m",
    "dos",
    "100%",
    "cut \\xe2\\x9c",
    "",
    "",
    "last without newline",
]


def printing(data: bytes) -> str:
    """Return a command that writes these bytes at once and no others."""
    code = f"import sys; sys.stdout.buffer.write(bytes.fromhex({data.hex()!r}))"
    return f"python -c {shlex.quote(code)}"


def start(dashboard: Dashboard, command: str, **played: object) -> str:
    job_id = f"logs-{uuid.uuid4().hex[:8]}"
    if dashboard.stub is not None:
        dashboard.stub.script(job_id, **played)
    executor = RayJobExecutor(dashboard.url, request_timeout=60.0)
    return executor.submit_entrypoint(command, job_id=job_id)


def without_header(lines: list[str]) -> list[str]:
    """Return the lines that the job itself printed.

    Ray's own line about the entrypoint may come after what a quick command prints first.
    """
    begin = next(n for n, line in enumerate(lines) if line.endswith("Runtime env is setting up."))
    own = [line for line in lines[begin + 1 :] if not line.startswith("Running entrypoint for job")]
    assert len(own) == len(lines) - begin - 2
    return own


@pytest.fixture(scope="module")
def odd_job(dashboard: Dashboard) -> str:
    """A job that has printed odd bytes and ended."""
    job_id = start(dashboard, printing(ODD), log=((0.0, ODD),))
    RayJobExecutor(dashboard.url).wait(job_id, timeout_seconds=60)
    return job_id


@pytest.fixture
def executor(dashboard: Dashboard) -> RayJobExecutor:
    return RayJobExecutor(dashboard.url, request_timeout=60.0)


def test_whole_log_is_what_was_printed(executor: RayJobExecutor, odd_job: str) -> None:
    r"""Every byte of the log is there; those that are not UTF-8 show as \xff."""
    log = executor.get_logs(odd_job)

    assert log.startswith("20")
    assert log.endswith("\n" + ODD.decode("utf-8", "backslashreplace"))


def test_streamed_lines_are_what_was_printed(executor: RayJobExecutor, odd_job: str) -> None:
    """Of an ended job the whole log streams: odd bytes, blank lines, and the last without end."""
    lines = list(executor.stream_logs(odd_job))

    assert without_header(lines) == ODD_LINES


def test_last_lines_are_the_last(executor: RayJobExecutor, odd_job: str) -> None:
    """The last lines end with the last one, in the same form as the streamed ones."""
    assert executor.get_last_lines(odd_job)[-len(ODD_LINES) :] == ODD_LINES


def test_last_lines_of_a_long_log(dashboard: Dashboard, executor: RayJobExecutor) -> None:
    """Of a long log the last 20 lines come, without reading all of it."""
    whole = b"".join(b"line %d\n" % number for number in range(5000))
    command = "python -c 'for n in range(5000): print(\"line\", n)'"
    job_id = start(dashboard, command, log=((0.0, whole),))
    executor.wait(job_id, timeout_seconds=60)

    assert executor.get_last_lines(job_id) == [f"line {number}" for number in range(4980, 5000)]


def test_lines_stream_while_the_job_runs(dashboard: Dashboard, executor: RayJobExecutor) -> None:
    """A line is out before the job has ended, each comes once, and then the stream ends."""
    played = {"runtime": 4.0, "log": ((0.0, b"first\n"), (3.8, b"second\n"))}
    job_id = start(dashboard, "echo first; sleep 4; echo second", **played)

    lines: list[str] = []
    status_at_first = ""
    for line in executor.stream_logs(job_id):
        lines.append(line)
        if line == "first":
            status_at_first = executor.get_status(job_id)

    assert status_at_first == "RUNNING"
    assert without_header(lines) == ["first", "second"]
    assert executor.get_status(job_id) == "SUCCEEDED"


def test_reader_may_leave_a_stream(dashboard: Dashboard, executor: RayJobExecutor) -> None:
    """Who stops reading leaves no thread behind that waits, and the job runs on."""
    log = ((0.0, b"first\n"),)
    job_id = start(dashboard, "echo first; sleep 600", runtime=600.0, log=log)
    stream = executor.stream_logs(job_id)
    next(stream)
    began = time.monotonic()

    stream.close()

    assert time.monotonic() - began < 3
    assert executor.get_status(job_id) == "RUNNING"
    assert executor.stop(job_id) is True


def test_job_that_never_ran_streams_ray_s_message(
    dashboard: Dashboard, executor: RayJobExecutor
) -> None:
    """Where there is no log, what Ray says about the job is all there is to show."""
    job_id = f"logs-{uuid.uuid4().hex[:8]}"
    if dashboard.stub is not None:
        dashboard.stub.packages.clear()
    missing = {"working_dir": "gcs://_ray_pkg_0000000000000000.zip"}
    executor.submit_entrypoint("true", job_id=job_id, runtime_env=missing)

    lines = list(executor.stream_logs(job_id))

    assert executor.get_status(job_id) == "FAILED"
    assert "_ray_pkg_0000000000000000.zip" in "\n".join(lines)
    assert lines == executor.get_logs(job_id).splitlines()
