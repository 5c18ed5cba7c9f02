"""What the executor makes of a server that misbehaves, seen from ordinary synchronous code."""

from __future__ import annotations

import gc
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_synapse.exceptions import (
    ExecutionError,
    RayAddressError,
    RayAuthenticationError,
    RayClusterUnreachableError,
    RayJobEntrypointError,
    RayJobInfrastructureError,
    RayJobNotScheduledError,
    RayJobStoppedError,
    RayJobTimeoutError,
)
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.job.results import result_file
from airflow_synapse.rayjobs.models import ACTION_KEY
from tests.support import stub_dashboard as routes
from tests.support.faults import GARBAGE, Answer, CutBody, Delay, Hang, LoseAnswer, Reset
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER

if TYPE_CHECKING:
    from blockbuster import BlockBuster

TIMEOUT = 0.3
"""What one call may take of a server that does not answer."""

SLACK = 0.5
"""What a busy machine may add."""

CALLS: dict[str, Callable[[RayJobExecutor], object]] = {
    "submit": lambda executor: executor.submit("actions:run", {}),
    "submit_entrypoint": lambda executor: executor.submit_entrypoint("true"),
    "get_status": lambda executor: executor.get_status("j"),
    "get_info": lambda executor: executor.get_info("j"),
    "find_info": lambda executor: executor.find_info("j"),
    "get_logs": lambda executor: executor.get_logs("j"),
    "get_last_lines": lambda executor: executor.get_last_lines("j"),
    "get_result": lambda executor: executor.get_result("j"),
    "stop": lambda executor: executor.stop("j"),
    "list_jobs": lambda executor: executor.list_jobs(),
    "delete": lambda executor: executor.delete("j"),
    "get_version": lambda executor: executor.get_version(),
    "stream_logs": lambda executor: list(executor.stream_logs("j")),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("name: p\nactions: {run: {entrypoint: 'actions:run'}}\n")
    return tmp_path


@pytest.fixture
def executor(stub_dashboard: StubDashboard, folder: Path) -> RayJobExecutor:
    return RayJobExecutor(stub_dashboard.url, working_dir=folder, request_timeout=5.0)


@pytest.fixture
def mute_server() -> Iterator[str]:
    """A server that accepts connections and never reads or answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("call", CALLS)
def test_server_that_never_answers_blocks_no_call(
    mute_server: str, folder: Path, call: str
) -> None:
    """Each call ends within the request timeout and says that there was no answer."""
    executor = RayJobExecutor(mute_server, working_dir=folder, request_timeout=TIMEOUT)
    began = time.monotonic()

    with pytest.raises(RayClusterUnreachableError, match="did not answer in time") as caught:
        CALLS[call](executor)

    assert time.monotonic() - began < TIMEOUT + SLACK
    assert caught.value.cluster == mute_server


def test_server_that_never_answers_ends_a_wait(mute_server: str) -> None:
    """A wait ends when its own time is over, though no request was answered."""
    executor = RayJobExecutor(mute_server, request_timeout=30.0)
    began = time.monotonic()

    with pytest.raises(RayJobTimeoutError, match=r"could not be watched for 0\.5 s"):
        executor.wait("j", timeout_seconds=0.5)

    assert time.monotonic() - began < 0.5 + 1.0 + SLACK


@pytest.mark.parametrize(
    ("call", "hanging"),
    [
        ("stop", routes.STOP),
        ("delete", routes.DELETE),
        ("get_result", routes.LOGS),
        ("get_last_lines", routes.LOGS),
        ("submit_entrypoint", routes.SUBMIT),
        ("submit", routes.GET_PACKAGE),
        ("submit", routes.PUT_PACKAGE),
    ],
)
def test_call_of_many_requests_ends_in_time(
    stub_dashboard: StubDashboard, folder: Path, call: str, hanging: str
) -> None:
    """Also if the first request was slow and a later one is not answered, the limit holds."""
    executor = RayJobExecutor(stub_dashboard.url, working_dir=folder, request_timeout=0.6)
    runtime = NEVER if call == "stop" else 0.0
    stub_dashboard.add_job("j", runtime=runtime, ended_ago=10.0)
    stub_dashboard.inject(Delay(0.5), route=routes.GET_JOB)
    stub_dashboard.inject(Hang(), times=None, route=hanging)
    began = time.monotonic()

    with pytest.raises((RayClusterUnreachableError, RayJobTimeoutError)):
        CALLS[call](executor)

    limit = 1.2 if call.startswith(("submit", "delete")) else 0.6
    assert time.monotonic() - began < limit + 0.4


@pytest.mark.parametrize("call", CALLS)
def test_refused_port_is_told(folder: Path, call: str) -> None:
    """Where nobody listens, each call says at once that the connection was refused."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    executor = RayJobExecutor(url, working_dir=folder, request_timeout=5.0)

    with pytest.raises(RayClusterUnreachableError, match=f"{url} is unreachable") as caught:
        CALLS[call](executor)

    assert "refused" in caught.value.reason


def test_name_that_does_not_resolve_is_told() -> None:
    """A host that DNS does not know is named as such."""
    executor = RayJobExecutor("http://no-such-host.invalid:8265", request_timeout=10.0)

    with pytest.raises(RayClusterUnreachableError, match="name could not be resolved"):
        executor.get_status("j")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("call", CALLS)
def test_refused_credentials_are_told_without_them(
    stub_dashboard: StubDashboard, folder: Path, call: str, status: int
) -> None:
    """401 and 403 fail at once; no secret is in the text, the repr or the traceback."""
    stub_dashboard.token = "the-right-one"
    executor = RayJobExecutor(
        stub_dashboard.url,
        working_dir=folder,
        token="s3cret-token" if status == 403 else None,
        headers={"X-Key": "s3cret-header"},
        cookies={"session": "s3cret-cookie"},
        env={"KEY": "s3cret-env"},
        unreachable_timeout=60.0,
    )

    with pytest.raises(RayAuthenticationError, match=str(status)) as caught:
        CALLS[call](executor)

    told = [str(caught.value), repr(caught.value), repr(vars(caught.value)), repr(executor.cluster)]
    told.append("".join(traceback.format_exception(caught.value)))
    assert "s3cret" not in "".join(told)
    assert stub_dashboard.url in str(caught.value)
    assert stub_dashboard.count() == 1


def test_token_is_sent_as_bearer(stub_dashboard: StubDashboard) -> None:
    """The token goes with every request and displaces a header of that name; cookies go along."""
    stub_dashboard.token = "t0ken"
    executor = RayJobExecutor(
        stub_dashboard.url,
        token="t0ken",
        headers={"authorization": "Basic x", "X-Key": "k"},
        cookies={"session": "c"},
    )

    executor.list_jobs()

    headers = stub_dashboard.last_call().headers
    assert headers["Authorization"] == "Bearer t0ken"
    assert headers["X-Key"] == "k"
    assert "session=c" in headers["Cookie"]


@pytest.mark.parametrize("call", CALLS)
def test_redirect_is_not_followed(
    stub_dashboard: StubDashboard, executor: RayJobExecutor, call: str
) -> None:
    """A redirect, as to a login page, is told and never followed with our headers."""
    target = {"Location": f"{stub_dashboard.agent_url}/logs/x?state=s3cret"}
    stub_dashboard.inject(Answer(302, headers=target), times=None)

    with pytest.raises(RayAddressError, match=f"redirects to {stub_dashboard.agent_url}") as caught:
        CALLS[call](executor)

    assert "s3cret" not in str(caught.value)
    assert stub_dashboard.count(routes.AGENT_LOG) == 0


@pytest.mark.parametrize("status", [404, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("call", CALLS)
def test_status_that_heals_is_an_outage(
    stub_dashboard: StubDashboard, executor: RayJobExecutor, call: str, status: int
) -> None:
    """A proxy's or dashboard's passing failure, a foreign 404 too, never looks like a lost job."""
    stub_dashboard.inject(Answer(status, body=b"<html>sorry</html>"), times=None)

    with pytest.raises(RayClusterUnreachableError, match=f"it answered {status}"):
        CALLS[call](executor)


@pytest.mark.parametrize("status", [405, 418])
def test_status_that_does_not_heal_is_a_wrong_address(
    stub_dashboard: StubDashboard, executor: RayJobExecutor, status: int
) -> None:
    """Something that answers otherwise is no Ray dashboard."""
    stub_dashboard.inject(Answer(status))

    with pytest.raises(RayAddressError, match=f"it answered {status}"):
        executor.get_status("j")


def test_server_s_wish_to_slow_down_is_kept(
    stub_dashboard: StubDashboard, executor: RayJobExecutor
) -> None:
    """The seconds of Retry-After are there for who wants to try again."""
    stub_dashboard.inject(Answer(429, headers={"Retry-After": "7"}))

    with pytest.raises(RayClusterUnreachableError) as caught:
        executor.get_status("j")

    assert caught.value.retry_after == 7.0


@pytest.mark.parametrize(
    "fault", [GARBAGE, Answer(200, b""), Answer(200, b"\xff\xfe"), Answer(200, b"[1, 2]")]
)
@pytest.mark.parametrize("call", ["get_status", "list_jobs", "stop", "get_version", "find_info"])
def test_answer_that_is_not_ray_s_is_an_outage(
    stub_dashboard: StubDashboard, executor: RayJobExecutor, call: str, fault: Answer
) -> None:
    """An error page with status 200 is no answer about a job."""
    stub_dashboard.inject(fault, times=None)

    with pytest.raises(RayClusterUnreachableError):
        CALLS[call](executor)


@pytest.mark.parametrize("fault", [CutBody(5), Reset(), LoseAnswer()])
def test_answer_that_breaks_off_is_an_outage(
    stub_dashboard: StubDashboard, executor: RayJobExecutor, fault: CutBody | Reset | LoseAnswer
) -> None:
    """A connection that is lost in the middle is told as such."""
    stub_dashboard.add_job("j")
    stub_dashboard.inject(fault, times=None)

    with pytest.raises(RayClusterUnreachableError, match=r"connection|was cut off"):
        executor.get_status("j")


def test_outage_is_outlasted_if_asked_to(stub_dashboard: StubDashboard) -> None:
    """With an ``unreachable_timeout``, a call waits for the cluster to come back."""
    stub_dashboard.add_job("j", runtime=NEVER)
    stub_dashboard.inject(Answer(503), times=2)
    executor = RayJobExecutor(stub_dashboard.url, unreachable_timeout=30.0)

    assert executor.get_status("j") == "RUNNING"


def test_job_that_was_never_sent_is_not_said_to_run(
    stub_dashboard: StubDashboard, executor: RayJobExecutor
) -> None:
    """A submission that came no further than a look at the id has started nothing."""
    stub_dashboard.inject(Answer(503), times=None)

    with pytest.raises(RayClusterUnreachableError) as caught:
        executor.submit_entrypoint("true", job_id="j")

    assert "may still be running" not in str(caught.value)
    assert stub_dashboard.count(routes.SUBMIT) == 0


def test_job_that_may_have_arrived_is_said_to_run(stub_dashboard: StubDashboard) -> None:
    """Once a submission was sent, an outage leaves it open whether the job was started."""
    stub_dashboard.inject(Reset(), times=None, route=routes.SUBMIT)
    stub_dashboard.inject(Answer(404, b"Job j does not exist"), route=routes.GET_JOB)
    stub_dashboard.inject(Answer(503), times=None, route=routes.GET_JOB)
    executor = RayJobExecutor(stub_dashboard.url, request_timeout=0.5, unreachable_timeout=1.0)

    with pytest.raises(RayClusterUnreachableError, match="Job j may still be running"):
        executor.submit_entrypoint("true", job_id="j")


def test_stream_outlasts_an_outage_if_asked_to(stub_dashboard: StubDashboard) -> None:
    """Who follows a log may be more patient than the executor, and is told of it."""
    stub_dashboard.add_job("j", log=((0.0, b"hello\n"),), has_header=False)
    stub_dashboard.inject(Answer(503), times=2)
    executor = RayJobExecutor(stub_dashboard.url)

    assert list(executor.stream_logs("j", unreachable_timeout=30.0)) == ["hello"]


def test_error_at_once_is_no_outage_to_be_told(
    stub_dashboard: StubDashboard, caplog: pytest.LogCaptureFixture
) -> None:
    """Without an ``unreachable_timeout`` there is an error, and no word of trying again."""
    stub_dashboard.inject(Answer(503), times=None)

    with pytest.raises(RayClusterUnreachableError):
        list(RayJobExecutor(stub_dashboard.url).stream_logs("j"))

    assert [record.getMessage() for record in caplog.records] == []


# Results, ends and where they are called from


def test_result_of_a_failed_job_is_its_failure(stub_dashboard: StubDashboard) -> None:
    """Who asks for a result learns why there is none."""
    stub_dashboard.add_job("failed", status="FAILED", exit_code=3)
    stub_dashboard.add_job("stopped", status="STOPPED")
    executor = RayJobExecutor(stub_dashboard.url)

    with pytest.raises(RayJobEntrypointError, match="exit code 3"):
        executor.get_result("failed")
    with pytest.raises(RayJobStoppedError):
        executor.get_result("stopped")


def test_action_that_ended_its_process_itself_is_told(stub_dashboard: StubDashboard) -> None:
    """SUCCEEDED without a result is told as what it was, at once."""
    job = stub_dashboard.add_job("j")
    job.request["metadata"] = {ACTION_KEY: "train"}
    stub_dashboard.files[result_file("j")] = b'{"returned": false}'

    with pytest.raises(ExecutionError, match="ended its own process"):
        RayJobExecutor(stub_dashboard.url).get_result("j")

    assert stub_dashboard.count(routes.LOGS) == 1


def test_job_without_a_result_says_so(stub_dashboard: StubDashboard) -> None:
    """A job that runs no action, or whose node is gone, has no result to return."""
    stub_dashboard.add_job("j")

    with pytest.raises(ExecutionError, match="is SUCCEEDED and has no result"):
        RayJobExecutor(stub_dashboard.url).get_result("j")


@pytest.mark.parametrize(
    "document", [b"", b'{"result": ', b"[]", b"null", b'{"other": 1}'], ids=repr
)
def test_result_that_is_broken_is_an_error_about_the_job(
    stub_dashboard: StubDashboard, document: bytes
) -> None:
    """A result file that was cut or overwritten names the job, not a line of JSON."""
    stub_dashboard.add_job("j")
    stub_dashboard.files[result_file("j")] = document

    with pytest.raises(ExecutionError, match="j"):
        RayJobExecutor(stub_dashboard.url).get_result("j")


@pytest.mark.parametrize(
    ("error_type", "kind"),
    [
        ("JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE", RayJobNotScheduledError),
        ("JOB_SUPERVISOR_ACTOR_DIED", RayJobInfrastructureError),
    ],
)
def test_cause_that_a_real_cluster_shows_rarely(
    stub_dashboard: StubDashboard, error_type: str, kind: type[ExecutionError]
) -> None:
    """A job that no node took, or whose supervisor died, did not fail by its own code."""
    stub_dashboard.add_job(
        "j", status="FAILED", ever_ran=False, error_type=error_type, message="Ray's words"
    )

    with pytest.raises(kind, match="Ray's words"):
        RayJobExecutor(stub_dashboard.url).wait("j")


async def test_executor_works_inside_a_running_loop(
    stub_dashboard: StubDashboard, no_blocking: BlockBuster
) -> None:
    """A notebook has an event loop in its thread; the executor does not mind."""
    no_blocking.deactivate()
    stub_dashboard.add_job("j", runtime=NEVER)

    assert RayJobExecutor(stub_dashboard.url).get_status("j") == "RUNNING"


def test_error_inside_a_with_block_passes(stub_dashboard: StubDashboard) -> None:
    """Leaving a ``with`` block by an error closes the connection and lets the error through."""

    def work() -> None:
        with RayJobExecutor(stub_dashboard.url) as executor:
            executor.list_jobs()
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        work()


class _InterruptedError(Exception):
    """What a task's ``execution_timeout`` raises in the middle of a call, by a signal."""


@pytest.fixture
def interrupted_soon() -> Iterator[None]:
    """A signal comes after a moment, as of a task's timeout or Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise _InterruptedError

    handler = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, handler)


@pytest.mark.usefixtures("interrupted_soon")
@pytest.mark.parametrize("is_entered", [True, False])
def test_interrupted_call_ends_at_once(
    stub_dashboard: StubDashboard, caplog: pytest.LogCaptureFixture, is_entered: bool
) -> None:
    """Ctrl-C or a task's timeout does not wait for an outage to end, and leaves nothing open."""
    stub_dashboard.inject(Answer(503), times=None)
    executor = RayJobExecutor(stub_dashboard.url, unreachable_timeout=20.0)
    began = time.monotonic()

    with pytest.raises(_InterruptedError), executor if is_entered else nullcontext():
        executor.list_jobs()

    assert time.monotonic() - began < 0.3 + SLACK
    gc.collect()
    assert [r.getMessage() for r in caplog.records if "Unclosed" in r.getMessage()] == []


@pytest.mark.usefixtures("interrupted_soon")
def test_executor_is_of_use_after_an_interrupted_call(stub_dashboard: StubDashboard) -> None:
    """Who catches what interrupted a call inside a ``with`` block may go on with the next."""
    stub_dashboard.inject(Answer(503), times=None)
    with RayJobExecutor(stub_dashboard.url, unreachable_timeout=20.0) as executor:
        with pytest.raises(_InterruptedError):
            executor.list_jobs()
        stub_dashboard.heal()
        asked = stub_dashboard.count()

        assert executor.list_jobs() == []
        time.sleep(1.0)

    assert stub_dashboard.count() == asked + 1


def test_variables_of_ray_have_no_say(
    stub_dashboard: StubDashboard, mute_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``RAY_ADDRESS`` and its like never override the address that was given."""
    monkeypatch.setenv("RAY_ADDRESS", mute_server)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", mute_server)

    assert RayJobExecutor(stub_dashboard.url, request_timeout=5.0).list_jobs() == []


def test_package_is_uploaded_once(stub_dashboard: StubDashboard, folder: Path) -> None:
    """What the cluster has already is not sent again."""
    executor = RayJobExecutor(stub_dashboard.url, working_dir=folder)

    executor.submit("run", {"a": 1})
    uploads = stub_dashboard.count(routes.PUT_PACKAGE)
    executor.submit("run", {"a": 1})

    assert uploads == len(stub_dashboard.packages) == 2
    assert stub_dashboard.count(routes.PUT_PACKAGE) == uploads


def test_environment_of_the_submitter_stays_here(
    stub_dashboard: StubDashboard, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent holds what was given, and nothing of this process's environment or paths."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    executor = RayJobExecutor(stub_dashboard.url, working_dir=folder, env={"GIVEN": "1"})

    job_id = executor.submit("run")

    sent = stub_dashboard.jobs[job_id].request
    assert sent["runtime_env"]["env_vars"] == {"GIVEN": "1"}
    assert "s3cret" not in repr(sent)
    assert str(folder) not in repr(sent)


def test_reader_of_a_stream_may_ask_for_other_things(stub_dashboard: StubDashboard) -> None:
    """Inside ``with executor``, where one loop serves all, a slow reader keeps no call waiting."""
    stub_dashboard.add_job("j", log=((0.0, b"line\n" * 200_000),))
    with RayJobExecutor(stub_dashboard.url) as executor:
        count = 0
        for _ in executor.stream_logs("j"):
            if count % 50_000 == 0:
                assert executor.get_status("j") == "SUCCEEDED"
            count += 1

    assert count >= 200_000


def test_executor_may_be_left_while_a_stream_is_open(stub_dashboard: StubDashboard) -> None:
    """Also with lines that nobody reads any more."""
    stub_dashboard.add_job("j", runtime=NEVER, log=((0.0, b"line\n" * 200_000),))
    with RayJobExecutor(stub_dashboard.url) as executor:
        lines = executor.stream_logs("j")
        next(lines)

    with pytest.raises(RuntimeError, match="closed"):
        for _ in lines:
            pass


def test_executor_may_be_entered_twice(stub_dashboard: StubDashboard) -> None:
    """The connection is closed when the outer one is left."""
    stub_dashboard.add_job("j")
    with RayJobExecutor(stub_dashboard.url) as executor:
        with executor:
            assert executor.get_status("j") == "SUCCEEDED"
        assert executor.get_status("j") == "SUCCEEDED"
    assert executor._crossing is None
