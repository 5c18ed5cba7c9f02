"""What the stub dashboard claims about logs, tokens and limits is true of a real Ray."""

from __future__ import annotations

import http.client
from typing import Any

import pytest

from tests.support.raw_dashboard import ENDED, Dashboard

pytestmark = pytest.mark.timeout(180)

ODD = b"first\n\xff\0odd\r\nlast"


def test_a_log_is_raw_bytes(dashboard: Dashboard, succeeded: dict[str, Any]) -> None:
    """The file route passes NUL, bytes that are not UTF-8, CRLF and a missing last newline."""
    answer = dashboard.ask("GET", dashboard.log_path(succeeded))

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert ODD in answer.body


def test_rays_own_lines_in_a_log(dashboard: Dashboard, succeeded: dict[str, Any]) -> None:
    """A log begins with a line of Ray's job manager and holds one of its job supervisor."""
    body = dashboard.ask("GET", dashboard.log_path(succeeded)).body

    assert body.split(b"\n", 1)[0].endswith(b"-- Runtime env is setting up.")
    assert f"Running entrypoint for job {succeeded['submission_id']}: ".encode() in body


@pytest.mark.parametrize(("lines", "end"), [(1, b"last"), (2, b"\xff\0odd\r\nlast"), (3, ODD)])
def test_the_last_lines(
    dashboard: Dashboard, succeeded: dict[str, Any], lines: int, end: bytes
) -> None:
    """``lines`` counts newlines from the end, and what follows the last one as a line."""
    answer = dashboard.ask("GET", dashboard.log_path(succeeded, lines=lines))

    assert answer.body == end


def test_no_lines_are_all_lines(dashboard: Dashboard, succeeded: dict[str, Any]) -> None:
    """``lines=0`` means the default of 1000, not none."""
    none = dashboard.ask("GET", dashboard.log_path(succeeded, lines=0))
    every = dashboard.ask("GET", dashboard.log_path(succeeded, lines=-1))

    assert none.body == every.body


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"filename": "nothing.log"}, "A file is not found at: "),
        ({"node_id": "ab" * 28}, f"Agent for node id: {'ab' * 28} doesn't exist."),
        ({"node_id": ""}, "500 Internal Server Error"),
        ({"filename": ""}, "500 Internal Server Error"),
        ({"lines": "few"}, "500 Internal Server Error"),
        ({"timeout": "1.5"}, "500 Internal Server Error"),
    ],
)
@pytest.mark.parametrize("media", ["file", "stream"])
def test_a_log_that_is_not_there(
    dashboard: Dashboard, succeeded: dict[str, Any], media: str, query: dict[str, str], told: str
) -> None:
    """An unknown file or node, or a query that is none, is a 500 whose text says which.

    Of an unknown file a busy Ray at times says so too late: then the answer is a 200 with nothing
    in it (4 of 600 requests to an idle 2.60.0, more on a busy machine).
    """
    for _ in range(20):
        answer = dashboard.ask("GET", dashboard.log_path(succeeded, media=media, **query))
        if (answer.status, answer.body) != (200, b""):
            break

    assert answer.status == 500
    assert answer.text.startswith(told)


def test_following_a_log(dashboard: Dashboard) -> None:
    """The stream route sends what is there, then what comes, and stays open after the job's end."""
    job_id = dashboard.submit(
        "echo one; sleep 2; echo t$((1 + 1))",
        played={"runtime": 2.0, "log": ((0.0, b"one\n"), (2.0, b"t2\n"))},
    )
    running = dashboard.wait(job_id, {"RUNNING"})

    connection, response = dashboard.open(
        "GET", dashboard.log_path(running, media="stream", interval=0.2)
    )
    early = _read_until(response, b"one\n")
    late = _read_until(response, b"t2\n")
    dashboard.wait(job_id, ENDED)
    assert connection.sock is not None
    connection.sock.settimeout(1)

    assert response.status == 200
    assert b"t2\n" not in early
    assert late.endswith(b"t2\n")
    with pytest.raises(TimeoutError):
        response.read1()
    response.close()
    connection.close()


def test_reading_a_log_from_the_agent(dashboard: Dashboard, succeeded: dict[str, Any]) -> None:
    """The agent serves the log as a file with byte ranges."""
    url = (
        f"{succeeded['driver_agent_http_address']}/logs/job-driver-{succeeded['submission_id']}.log"
    )
    whole = dashboard.ask("GET", url)
    size = len(whole.body)

    rest = dashboard.ask("GET", url, headers={"Range": f"bytes={size - 4}-"})
    part = dashboard.ask("GET", url, headers={"Range": "bytes=2-3"})
    beyond = dashboard.ask("GET", url, headers={"Range": f"bytes={size}-"})
    unknown = dashboard.ask("GET", url.replace("job-driver", "no-driver"))

    assert whole.status == 200
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert ODD in whole.body
    assert (rest.status, rest.body) == (206, b"last")
    assert rest.headers["Content-Range"] == f"bytes {size - 4}-{size - 1}/{size}"
    assert (part.status, part.body) == (206, whole.body[2:4])
    assert beyond.status == 416
    assert beyond.headers["Content-Range"] == f"bytes */{size}"
    assert unknown.status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/api/version",
        "/api/jobs/",
        "/api/jobs/nobody",
        "/api/v0/logs/file",
        "/api/packages/gcs/a.zip",
    ],
)
def test_a_token_is_asked_for(guarded_dashboard: Dashboard, path: str) -> None:
    """Without a token every route is 401, with a wrong one 403, and with the right one neither."""
    without = guarded_dashboard.ask("GET", path, headers={"Authorization": ""})
    wrong = guarded_dashboard.ask("GET", path, headers={"Authorization": "Bearer wrong"})
    right = guarded_dashboard.ask("GET", path)

    assert (without.status, without.text) == (401, "Unauthorized: Missing authentication token")
    assert (wrong.status, wrong.text) == (403, "Forbidden: Invalid authentication token")
    assert right.status not in {401, 403}


def test_a_stream_left_on_a_quiet_log_keeps_its_place(guarded_dashboard: Dashboard) -> None:
    """A hundred streams that were left on an ended job's log block every further log request.

    Nothing but a line in that log would free them, so nobody may follow a log with this route
    that is not known to be written to again. The Jobs API is not blocked.
    """
    job_id = guarded_dashboard.submit("true")
    ended = guarded_dashboard.wait(job_id, ENDED)
    stream = guarded_dashboard.log_path(ended, media="stream", interval=0.2)
    file = guarded_dashboard.log_path(ended)

    assert guarded_dashboard.ask("GET", file).status == 200
    for _ in range(100):
        connection, response = guarded_dashboard.open("GET", stream)
        assert response.read1()
        response.close()
        connection.close()

    with pytest.raises(TimeoutError):
        guarded_dashboard.ask("GET", file, timeout=3)
    assert guarded_dashboard.details(job_id)["status"] == "SUCCEEDED"


def _read_until(response: http.client.HTTPResponse, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        chunk = response.read1()
        assert chunk, seen
        seen += chunk
    return seen
