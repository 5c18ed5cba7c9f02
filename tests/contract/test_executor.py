"""What the executor does with jobs, the same on the stub dashboard and on a real Ray."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_synapse.exceptions import (
    JobIdConflictError,
    RayJobEntrypointError,
    RayJobNotFoundError,
    RayJobRuntimeEnvError,
    RayJobStoppedError,
    RayJobSubmissionError,
    RayJobTimeoutError,
)
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.job.results import result_file
from tests.support.raw_dashboard import Dashboard
from tests.support.stub_jobs import NEVER, runtime_env_failure

pytestmark = pytest.mark.timeout(240)

SLEEP = "python -c 'import time; time.sleep(600)'"
SLEEP_IGNORING_SIGTERM = (
    'python -c "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); '
    "print('ready', flush=True); time.sleep(600)\""
)
ACTIONS = """
def echo(value):
    print("the action ran")
    return value


def fail(**params):
    raise ValueError("this is the reason")
"""


@pytest.fixture
def executor(dashboard: Dashboard) -> RayJobExecutor:
    return RayJobExecutor(dashboard.url, request_timeout=60.0)


@pytest.fixture
def plugin(tmp_path: Path, dashboard: Dashboard) -> RayJobExecutor:
    """An executor for a plugin with the actions above."""
    (tmp_path / "config.yaml").write_text(
        "name: contract\nactions:\n"
        "  echo: {entrypoint: 'actions:echo'}\n  fail: {entrypoint: 'actions:fail'}\n"
    )
    (tmp_path / "actions.py").write_text(ACTIONS)
    return RayJobExecutor(dashboard.url, working_dir=tmp_path, request_timeout=60.0)


def a_job_id() -> str:
    return f"executor-{uuid.uuid4().hex[:8]}"


def start(dashboard: Dashboard, command: str, **given: Any) -> str:
    """Submit a command; ``played`` says how the stub plays it."""
    job_id = a_job_id()
    if dashboard.stub is not None:
        dashboard.stub.script(job_id, **given.pop("played", {}))
    given.pop("played", None)
    executor = RayJobExecutor(dashboard.url, request_timeout=60.0)
    return executor.submit_entrypoint(command, job_id=job_id, **given)


def wait_until(statement: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not statement():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def play_result(dashboard: Dashboard, job_id: str, result: Any) -> None:
    """Let the stub's job leave this result."""
    if dashboard.stub is not None:
        dashboard.stub.files[result_file(job_id)] = json.dumps({"result": result}).encode()


def test_command_succeeds(dashboard: Dashboard, executor: RayJobExecutor) -> None:
    """A command runs to SUCCEEDED, and its job tells what it was submitted with."""
    command = "echo hello"
    job_id = start(dashboard, command, metadata={"who": "me"}, entrypoint_num_cpus=0.1)

    assert executor.wait(job_id, timeout_seconds=60) == "SUCCEEDED"
    info = executor.get_info(job_id)

    assert executor.get_status(job_id) == info.status == "SUCCEEDED"
    assert (info.job_id, info.entrypoint, info.driver_exit_code) == (job_id, command, 0)
    assert info.metadata["who"] == "me"
    assert info.driver_node_id
    assert info.start_time
    assert info.end_time
    assert info.start_time <= info.end_time


def test_same_job_is_submitted_once(dashboard: Dashboard, executor: RayJobExecutor) -> None:
    """The same again under the same id returns it and starts nothing."""
    job_id = start(dashboard, "echo once")
    began = executor.get_info(job_id).start_time

    again = executor.submit_entrypoint("echo once", job_id=job_id, metadata={"try": "2"})

    assert again == job_id
    assert executor.get_info(job_id).start_time == began
    assert [info.job_id for info in executor.list_jobs()].count(job_id) == 1


@pytest.mark.parametrize(
    ("command", "given"), [("echo two", {}), ("echo one", {"entrypoint_num_cpus": 0.5})]
)
def test_other_job_under_a_used_id_is_refused(
    dashboard: Dashboard, executor: RayJobExecutor, command: str, given: Mapping[str, Any]
) -> None:
    """Another command, or the same with other resources, never hides behind a used id."""
    job_id = start(dashboard, "echo one")

    with pytest.raises(JobIdConflictError, match=job_id):
        executor.submit_entrypoint(command, job_id=job_id, **given)

    assert executor.get_info(job_id).entrypoint == "echo one"


def test_generated_id_is_one_of_ours(dashboard: Dashboard, executor: RayJobExecutor) -> None:
    """Without an id, one is made before anything is sent."""
    first, second = executor.submit_entrypoint("true"), executor.submit_entrypoint("true")

    assert first != second
    assert executor.wait(first, timeout_seconds=60) == "SUCCEEDED"
    assert executor.wait(second, timeout_seconds=60) == "SUCCEEDED"


@pytest.mark.parametrize(
    "value",
    [
        None,
        {
            "int": 2**60,
            "float": 0.1,
            "bool": True,
            "text": "ä ✓ 🎉 \0 \" ' $(false) `false` \n %s {}",
            "nested": [[], {}, [None, {"a": [1, 2]}]],
            "": "empty key",
        },
        "x" * 5_000_000,
    ],
    ids=["null", "many types", "5 MB"],
)
def test_params_arrive_and_the_result_comes_back(
    dashboard: Dashboard, plugin: RayJobExecutor, value: Any
) -> None:
    """What JSON can hold goes to the action and comes back unchanged, whatever its size."""
    job_id = a_job_id()
    play_result(dashboard, job_id, value)

    assert plugin.submit("echo", {"value": value}, job_id=job_id) == job_id
    assert plugin.wait(job_id, timeout_seconds=120) == "SUCCEEDED"

    assert plugin.get_result(job_id) == value


def test_same_action_is_submitted_once(dashboard: Dashboard, plugin: RayJobExecutor) -> None:
    """Params are part of what runs: the same again is the same job, others conflict."""
    job_id = plugin.submit("echo", {"value": 1}, job_id=a_job_id())

    assert plugin.submit("echo", {"value": 1}, job_id=job_id) == job_id
    with pytest.raises(JobIdConflictError, match=job_id):
        plugin.submit("echo", {"value": 2}, job_id=job_id)


def test_failed_action_tells_why(dashboard: Dashboard, plugin: RayJobExecutor) -> None:
    """An action that raises fails with the traceback's end as the last lines, and has no result."""
    job_id = a_job_id()
    if dashboard.stub is not None:
        log = b"Traceback (most recent call last):\nValueError: this is the reason\n"
        dashboard.stub.script(job_id, status="FAILED", exit_code=1, log=((0.0, log),))
    plugin.submit("fail", {"a": 1}, job_id=job_id)

    with pytest.raises(RayJobEntrypointError, match="exit code 1") as caught:
        plugin.wait(job_id, timeout_seconds=60)

    assert caught.value.status == "FAILED"
    assert caught.value.exit_code == 1
    assert caught.value.last_lines[-1] == "ValueError: this is the reason"
    with pytest.raises(RayJobEntrypointError, match="exit code 1") as without_result:
        plugin.get_result(job_id)
    assert without_result.value.job_id == job_id


def test_exit_code_of_a_command_is_told(dashboard: Dashboard, executor: RayJobExecutor) -> None:
    """A command that fails shows its exit code and what it printed last."""
    played = {"status": "FAILED", "exit_code": 3, "log": ((0.0, b"boom\n"),)}
    job_id = start(dashboard, "echo boom; exit 3", played=played)

    with pytest.raises(RayJobEntrypointError, match="exit code 3") as caught:
        executor.wait(job_id, timeout_seconds=60)

    assert caught.value.error_type == "JOB_ENTRYPOINT_COMMAND_ERROR"
    # Not always the last: Ray's own first line may come after what a quick command prints.
    assert "boom" in caught.value.last_lines
    assert executor.get_status(job_id) == "FAILED"


def test_runtime_env_that_can_not_be_set_up(dashboard: Dashboard, tmp_path: Path) -> None:
    """A requirement that does not exist fails the job with pip's words, not as user code."""
    (tmp_path / "requirements.txt").write_text("--no-index\nno-such-package-of-ours==1.0\n")
    executor = RayJobExecutor(dashboard.url, working_dir=tmp_path, request_timeout=60.0)
    job_id = a_job_id()
    if dashboard.stub is not None:
        reason = "ERROR: No matching distribution found for no-such-package-of-ours==1.0"
        dashboard.stub.script(job_id, **vars(runtime_env_failure(reason)))
    executor.submit_entrypoint("true", job_id=job_id)

    with pytest.raises(RayJobRuntimeEnvError, match="no-such-package-of-ours") as caught:
        executor.wait(job_id, timeout_seconds=180)

    assert caught.value.error_type == "RUNTIME_ENV_SETUP_FAILURE"
    assert caught.value.exit_code is None
    assert "no-such-package-of-ours" in executor.get_logs(job_id)
    assert executor.get_last_lines(job_id)
    with pytest.raises(RayJobRuntimeEnvError):
        executor.get_result(job_id)


def test_running_job_is_stopped(dashboard: Dashboard, executor: RayJobExecutor) -> None:
    """Stop returns once the job is STOPPED; a second stop has nothing to do."""
    job_id = start(dashboard, SLEEP, played={"runtime": NEVER, "stop_delay": 0.5})
    wait_until(lambda: executor.get_status(job_id) == "RUNNING")

    assert executor.stop(job_id) is True
    assert executor.get_status(job_id) == "STOPPED"
    assert executor.stop(job_id) is False
    with pytest.raises(RayJobStoppedError, match=job_id):
        executor.wait(job_id, timeout_seconds=10)


def test_job_that_ignores_sigterm_is_stopped(
    dashboard: Dashboard, executor: RayJobExecutor
) -> None:
    """A driver that does not listen is killed, and stop waits for that."""
    played = {"runtime": NEVER, "stop_delay": 1.0, "log": ((0.0, b"ready\n"),)}
    job_id = start(dashboard, SLEEP_IGNORING_SIGTERM, played=played)
    wait_until(
        lambda: executor.get_status(job_id) == "RUNNING" and "ready\n" in executor.get_logs(job_id)
    )

    assert executor.stop(job_id) is True
    assert executor.get_status(job_id) == "STOPPED"


def test_job_that_is_never_scheduled_can_not_be_stopped(
    dashboard: Dashboard, executor: RayJobExecutor
) -> None:
    """Ray says "stopped" of a job that waits for resources and leaves it; we say so plainly."""
    played = {"pending": NEVER, "stop_delay": NEVER}
    job_id = start(dashboard, "true", played=played, entrypoint_resources={"unobtainium": 1})
    impatient = RayJobExecutor(dashboard.url, request_timeout=3.0)

    with pytest.raises(RayJobTimeoutError, match="still PENDING after 3 s") as caught:
        impatient.stop(job_id)

    assert caught.value.status == "PENDING"
    assert "may still start" in str(caught.value)
    assert executor.get_status(job_id) == "PENDING"


def test_wait_that_runs_out_leaves_the_job(dashboard: Dashboard, executor: RayJobExecutor) -> None:
    """When time is over, the error says so and the job runs on."""
    job_id = start(dashboard, SLEEP, played={"runtime": NEVER})
    wait_until(lambda: executor.get_status(job_id) == "RUNNING")
    began = time.monotonic()

    with pytest.raises(RayJobTimeoutError, match="did not end within 1 s") as caught:
        executor.wait(job_id, timeout_seconds=1)

    assert time.monotonic() - began < 4
    assert caught.value.job_id == job_id
    assert executor.get_status(job_id) == "RUNNING"
    assert executor.stop(job_id) is True


def test_ended_job_can_be_deleted_and_a_running_one_not(
    dashboard: Dashboard, executor: RayJobExecutor
) -> None:
    """Delete makes the cluster forget an ended job and refuses a running one."""
    job_id = start(dashboard, SLEEP, played={"runtime": NEVER})
    wait_until(lambda: executor.get_status(job_id) == "RUNNING")

    with pytest.raises(RayJobSubmissionError, match="RUNNING can't be deleted"):
        executor.delete(job_id)
    executor.stop(job_id)

    assert executor.delete(job_id) is True
    time.sleep(2.5)  # Ray looks after a job for a second longer, and must not miss its record
    assert job_id not in [info.job_id for info in executor.list_jobs()]
    with pytest.raises(RayJobNotFoundError, match=job_id):
        executor.get_status(job_id)


@pytest.mark.parametrize(
    "call",
    [
        "get_status",
        "get_info",
        "get_logs",
        "get_last_lines",
        "get_result",
        "stop",
        "wait",
        "delete",
    ],
)
def test_unknown_job_is_not_found(executor: RayJobExecutor, call: str) -> None:
    """Whatever is asked of a job that the cluster does not know, the error names it."""
    with pytest.raises(RayJobNotFoundError, match=r"nobody.* does not exist"):
        getattr(executor, call)("nobody")


def test_log_of_an_unknown_job_is_not_found(executor: RayJobExecutor) -> None:
    """Streaming says so with the first line that is asked for."""
    with pytest.raises(RayJobNotFoundError, match="nobody"):
        next(executor.stream_logs("nobody"))


def test_unknown_job_is_found_to_be_none(executor: RayJobExecutor) -> None:
    """Who looks for a job that need not exist gets None."""
    assert executor.find_info("nobody") is None


def test_one_connection_serves_many_calls(dashboard: Dashboard) -> None:
    """As a context manager the executor does all it does without, and may be used again."""
    executor = RayJobExecutor(dashboard.url, request_timeout=60.0)
    for _ in range(2):
        with executor:
            job_id = executor.submit_entrypoint("echo hello")
            assert executor.wait(job_id, timeout_seconds=60) == "SUCCEEDED"
            assert executor.get_info(job_id).driver_exit_code == 0

    assert executor.get_status(job_id) == "SUCCEEDED"
