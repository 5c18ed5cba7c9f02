"""Raw HTTP to a dashboard, real or pretended, for assertions that hold on both."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.support.stub_dashboard import StubDashboard

ENDED = {"SUCCEEDED", "FAILED", "STOPPED"}


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Dashboard:
    """Raw HTTP to a dashboard. Each job is given twice: as the shell runs it and as the stub plays it.

    :param url: Of the dashboard.
    :param stub: The stub dashboard, None if it is a real one.
    :param headers: Sent with every request.
    """

    def __init__(
        self, url: str, *, stub: StubDashboard | None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.url = url
        self.stub = stub
        self.headers = dict(headers or {})

    def open(
        self,
        method: str,
        url: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send a request and return its connection and its answer, whose body is still to read."""
        parts = urlsplit(url if url.startswith("http") else self.url + url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        try:
            connection.request(method, path, data, {**self.headers, **(headers or {})})
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def ask(self, method: str, url: str, **kwargs: Any) -> Answer:
        connection, response = self.open(method, url, **kwargs)
        try:
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            response.close()
            connection.close()

    def submit(
        self, entrypoint: str, *, played: Mapping[str, Any] | None = None, **fields: Any
    ) -> str:
        """Start a job and return its id. ``played`` are the fields of the stub's script for it."""
        job_id = fields.pop("submission_id", None) or f"contract-{uuid.uuid4().hex[:8]}"
        if self.stub is not None:
            self.stub.script(job_id, **(played or {}))
        body = {"entrypoint": entrypoint, "submission_id": job_id, **fields}
        answer = self.ask("POST", "/api/jobs/", body=body)
        assert answer.status == 200, answer.text
        return job_id

    def details(self, job_id: str) -> dict[str, Any]:
        return dict(self.ask("GET", f"/api/jobs/{job_id}").json)

    def wait(self, job_id: str, statuses: set[str]) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while (details := self.details(job_id))["status"] not in statuses:
            assert time.monotonic() < deadline, details
            time.sleep(0.05)
        return details

    def log_path(self, job: Mapping[str, Any], *, media: str = "file", **query: Any) -> str:
        """The path of a job's log; ``query`` overrides or adds parameters."""
        filename = f"job-driver-{job['submission_id']}.log"
        given = {"node_id": job["driver_node_id"], "filename": filename, "lines": -1, **query}
        return f"/api/v0/logs/{media}?{urlencode(given)}"
