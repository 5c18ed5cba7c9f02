"""Says what an answer other than 200 means, by Ray's text or by the HTTP status. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from airflow_synapse.exceptions import (
    AirflowSynapseError,
    RayAddressError,
    RayAuthenticationError,
    RayClusterUnreachableError,
    RayJobNotFoundError,
    RayJobSubmissionError,
    RayLogNotFoundError,
)
from airflow_synapse.plurals import counted
from airflow_synapse.rayjobs.client.request_errors import classify_status

SUBMISSIONS = "/api/jobs/"
"""The path that jobs are posted to."""


_RESOLUTION = 1.0
"""Seconds. A Date header leaves out the fraction of its second."""


class IdInUseError(Exception):
    """Ray answered that the submission ID is in use."""


class TooLargeError(Exception):
    """Something answered that a request is larger than it accepts.

    :param server: What it says that it is, "" if it does not.
    """

    def __init__(self, server: str) -> None:
        super().__init__(server)
        self.server = server


class AbsentError(Exception):
    """Ray answered that it does not have the package."""


class CertificateRefusedError(RayAddressError):
    """One side does not trust the other's certificate. It may have been renewed on one side only so far."""


class AgentUnusableError(Exception):
    """The agent on a job's node can't be used from here. The dashboard serves its files instead."""


def check_range(headers: Mapping[str, str], position: int) -> None:
    """Check that an answer begins at the byte that was asked for: other bytes would repeat lines.

    :raises AgentUnusableError: if it does not say so.
    """
    start = _RANGE_START.match(headers.get("Content-Range", ""))
    if start is None or int(start[1]) != position:
        raise AgentUnusableError("it sent another range than it was asked for")


_RANGE_START = re.compile(r"bytes (\d{1,18})-", re.ASCII)
_RANGE_SIZE = re.compile(r".*/(\d{1,18})", re.ASCII)


def check_no_more(
    status: int, headers: Mapping[str, str], position: int, job_id: str | None
) -> None:
    """Check that an agent's answer without content means that the file ends at ``position``.

    :raises RayLogNotFoundError: if the file is empty or shorter.
    :raises AgentUnusableError: if the agent did not serve the file at all.
    """
    size = _RANGE_SIZE.fullmatch(headers.get("Content-Range", ""))
    if status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or size is None:
        raise AgentUnusableError(f"it answered {status}")
    if int(size[1]) < max(position, 1):
        raise RayLogNotFoundError(
            job_id=job_id,
            reason=f"has a log of {counted(int(size[1]), 'byte')}, although {position} were read before",
        )


@dataclass(frozen=True)
class Question:
    """What a request asked for, as far as the meaning of its answer depends on it.

    :param method: GET, POST, …
    :param path: The path.
    :param job_id: The job that it was about, if any.
    :param cluster: The cluster's address.
    """

    method: str
    path: str
    job_id: str | None
    cluster: str

    @property
    def route(self) -> str:
        """The path without what is of this one request."""
        start = self.path.split("/")[1:3]
        return "/" + "/".join(part for part in start if part) + "/"

    @property
    def is_submission(self) -> bool:
        """Whether it submits a job. Only then does 400 mean that Ray can't use what was sent."""
        return self.method == "POST" and self.path == SUBMISSIONS


def error_of_answer(
    question: Question, status: int, headers: Mapping[str, str], text: str
) -> Exception:
    """Return the error for an answer other than 200.

    :param text: The beginning of its body.
    """
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        job_id = None if question.is_submission else question.job_id
        return RayAuthenticationError(
            cluster=question.cluster,
            http_status=status,
            job_id=job_id,
            hint=_hint_of_refusal(question, status, headers),
        )
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return RayAddressError(
            address=question.cluster,
            reason=f"it redirects to {location(headers)}",
            hint="Use that address instead. If it is a login page, give the credentials that its proxy "
            "requires.",
        )
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and question.method == "PUT":
        return TooLargeError(headers.get("Server", ""))
    return refusal_told_by_ray(question, status, text) or _error_of_status(
        question, status, headers
    )


def _hint_of_refusal(question: Question, status: int, headers: Mapping[str, str]) -> str:
    """Return what to do if it is a proxy's refusal: Ray's own comes without a web page."""
    if status != HTTPStatus.FORBIDDEN or "text/html" not in headers.get("Content-Type", ""):
        return ""
    return (
        f"A web page came with the answer, so it may not be Ray's. {_must_pass(question)} If it does, the "
        "credentials are wrong."
    )


def _must_pass(question: Question) -> str:
    return f"A proxy in front of the dashboard must let {question.method} {question.route} through."


def _error_of_status(
    question: Question, status: int, headers: Mapping[str, str]
) -> AirflowSynapseError:
    failure = classify_status(status)
    if not failure.is_retryable:
        return RayAddressError(
            address=question.cluster,
            reason=failure.reason,
            hint=f"Check host, port and path. {_must_pass(question)}",
        )
    is_no_route = status == HTTPStatus.NOT_FOUND
    return RayClusterUnreachableError(
        cluster=question.cluster,
        reason=failure.reason,
        job_id=question.job_id,
        retry_after=retry_after(headers),
        http_status=status,
        hint=f"Check host, port and path. {_must_pass(question)}" if is_no_route else "",
    )


def refusal_told_by_ray(question: Question, status: int, text: str) -> Exception | None:
    """Return the error that Ray's own text describes, or None if the text is not Ray's.

    The texts are those in Ray's ``job_head.py``, ``job_manager.py`` and ``state_head.py``.
    """
    job_id, cluster = question.job_id, question.cluster
    if status == HTTPStatus.NOT_FOUND and "does not exist" in text:
        if text.startswith("Package"):
            return AbsentError(text)
        return RayJobNotFoundError(job_id=job_id, cluster=cluster)
    if "already exists" in text and "submission_id" in text:
        return IdInUseError(text)
    if any(words in text for words in ("file is not found", "Agent for node id", "given node id")):
        return RayLogNotFoundError(
            job_id=job_id, cluster=cluster, reason=f"has no such file ({_last_line(text)})"
        )
    is_bad_request = status == HTTPStatus.BAD_REQUEST or "status code 400" in text
    if is_bad_request and question.is_submission:
        return RayJobSubmissionError(
            job_id=job_id, cluster=cluster, reason=f"Ray refused it: {_last_line(text)}"
        )
    return None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else ""


def location(headers: Mapping[str, str]) -> str:
    """Return the scheme and host that an answer redirects to."""
    try:
        target = urlsplit(headers.get("Location", ""))
    except ValueError:
        return "a malformed address"
    return f"{target.scheme}://{target.netloc}" if target.netloc else "another page"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a Retry-After header asks for. It may be a number or a date."""
    value = headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def server_time(headers: Mapping[str, str]) -> float:
    """Return the time by the server's clock, to the second, or by ours if the server does not say."""
    told = date_of(headers)
    return time.time() if told is None else told


class ClusterClock:
    """A cluster's clock, seen through the Date headers of its answers.

    The clocks of a head node, a worker and a triggerer may differ by many minutes. A limit is counted on one
    clock, which is that of whoever answers our requests, so that no job is stopped because of the others.
    """

    def __init__(self) -> None:
        self.ahead: float | None = None
        """Seconds by which it is ahead of this machine's clock, None if that is not known.

        0 if the two agree as far as a Date header can tell.
        """

    def note(self, headers: Mapping[str, str], *, sent: float, received: float) -> None:
        """Learn from an answer.

        :param sent: When it was asked for, by this machine's clock, in seconds since the epoch.
        :param received: When it began to arrive.
        """
        told = date_of(headers)
        if told is None:
            return
        if told > received:
            self.ahead = told - received
        elif told + _RESOLUTION < sent:
            self.ahead = told + _RESOLUTION - sent
        else:
            self.ahead = 0.0

    def now(self) -> float | None:
        """Return the cluster's time in seconds since the epoch, None if it has not told it yet."""
        return None if self.ahead is None else time.time() + self.ahead


def date_of(headers: Mapping[str, str]) -> float | None:
    """Return an answer's Date in seconds since the epoch, None if it has none."""
    try:
        return parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
