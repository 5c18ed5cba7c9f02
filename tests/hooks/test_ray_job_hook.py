"""The hook finds its cluster by its connection, and says what is wrong with it."""

from __future__ import annotations

import json
import socket
from typing import Any

import airflow
import pytest

from airflow_synapse.exceptions import RayJobNotFoundError
from airflow_synapse.hooks.ray_job import RayJobHook
from tests.support import stub_dashboard as routes
from tests.support.faults import GARBAGE, Answer
from tests.support.stub_dashboard import StubDashboard
from tests.triggers import watching


def connect(monkeypatch: pytest.MonkeyPatch, url: str, **fields: Any) -> None:
    """Let ``ray_default`` be a connection to this URL."""
    connection = {"conn_type": "ray", "host": url, **fields}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_DEFAULT", json.dumps(connection))


def test_hook_s_methods_are_the_executor_s(
    stub_dashboard: StubDashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job can be submitted, watched, read, listed and deleted by way of the hook."""
    connect(monkeypatch, stub_dashboard.url)
    hook = RayJobHook()
    stub_dashboard.script("j", log=((0.0, b"hello\n"),), has_header=False)

    assert hook.submit_entrypoint("echo hello", job_id="j") == "j"
    assert hook.wait("j") == hook.get_status("j") == hook.get_info("j").status == "SUCCEEDED"
    assert hook.get_logs("j") == "hello\n"
    assert list(hook.stream_logs("j")) == ["hello"]
    assert hook.stop("j") is False
    assert [info.job_id for info in hook.list_jobs()] == ["j"]
    assert hook.delete("j") is True
    assert hook.find_info("j") is None
    with pytest.raises(RayJobNotFoundError):
        hook.get_result("j")


def test_connection_s_settings_reach_the_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Token, headers, cookies, verify and timeout of the connection are used."""
    extra = {"headers": {"X": "1"}, "cookies": {"c": "2"}, "verify": False, "request_timeout": 5}
    extra |= {"client_cert": "/etc/ray/tls.crt", "client_key": "/etc/ray/tls.key"}
    connect(monkeypatch, "https://head", password="t0ken", extra=extra)

    cluster = RayJobHook(working_dir="/plugin").get_conn().cluster

    assert (cluster.address, cluster.token) == ("https://head", "t0ken")
    assert (cluster.headers, cluster.cookies) == ({"X": "1"}, {"c": "2"})
    assert (cluster.verify, cluster.request_timeout) == (False, 5.0)
    assert (cluster.client_cert, cluster.client_key) == ("/etc/ray/tls.crt", "/etc/ray/tls.key")


async def test_connection_is_read_inside_an_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the triggerer the connection comes by an asynchronous way."""
    watching.connect(monkeypatch, "http://head:8265")

    connection = await RayJobHook().aget_ray_connection()

    assert connection.cluster.address == "http://head:8265"


def test_connection_that_works_is_told(
    stub_dashboard: StubDashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that accepts jobs is named with its version."""
    connect(monkeypatch, stub_dashboard.url)

    assert RayJobHook().test_connection() == (
        True,
        f"Ray {routes.RAY_VERSION} at {stub_dashboard.url} accepts jobs.",
    )


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Answer(401), "Set the connection's password"),
        (Answer(403), "The token is wrong"),
        (Answer(302, headers={"Location": "https://login.example.com/"}), "login.example.com"),
        (Answer(200, b'{"version": "1"}'), "something answered that is not a Ray dashboard"),
        (Answer(404, b"not found"), "it answered 404"),
        (GARBAGE, "its answer is not JSON"),
        (Answer(503), "it answered 503"),
    ],
)
def test_connection_that_does_not_work_is_told_why(
    stub_dashboard: StubDashboard, monkeypatch: pytest.MonkeyPatch, fault: Answer, told: str
) -> None:
    """The test of a connection tells 401, 403, a login page and what is no Ray apart."""
    connect(monkeypatch, stub_dashboard.url, password="s3cret")
    stub_dashboard.inject(fault, times=None)

    is_good, message = RayJobHook().test_connection()

    assert not is_good
    assert told in message
    assert stub_dashboard.url in message
    assert "s3cret" not in message


def test_token_that_is_asked_for_later_is_told(
    stub_dashboard: StubDashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version may be public; whether jobs may be seen is tried, too."""
    connect(monkeypatch, stub_dashboard.url)
    stub_dashboard.inject(Answer(401), times=None, route=routes.GET_JOB)

    is_good, message = RayJobHook().test_connection()

    assert (is_good, "401" in message) == (False, True)


def test_refused_port_and_wrong_scheme_are_told(
    stub_dashboard: StubDashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody there, no TLS there, and an address that is none: each has its own words."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    connect(monkeypatch, f"http://127.0.0.1:{port}")
    assert "refused" in RayJobHook().test_connection()[1]

    connect(monkeypatch, stub_dashboard.url.replace("http:", "https:"))
    assert "is it https at all" in RayJobHook().test_connection()[1]

    connect(monkeypatch, "ray://head:10001")
    assert "Ray Client" in RayJobHook().test_connection()[1]


@pytest.mark.skipif(airflow.__version__ == "3.1.0", reason="it can't be asked outside of a task")
def test_connection_that_is_not_defined_is_told() -> None:
    """Outside Airflow's processes only some connections are found; the test says so and raises nothing."""
    is_good, message = RayJobHook("nowhere").test_connection()

    assert not is_good
    assert "Airflow found no connection 'nowhere'" in message
    assert "airflow ray check --conn-id nowhere" in message
