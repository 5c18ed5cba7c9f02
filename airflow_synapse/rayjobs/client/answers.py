"""What an answer other than 200 means, in Ray's words or in HTTP's. Pure."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
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
from airflow_synapse.rayjobs.client.request_errors import classify_status

SUBMISSIONS = "/api/jobs/"
"""The path to which jobs are posted."""

_decoder = json.JSONDecoder()
_between_objects = re.compile(r"[\s,]*")


class IdInUseError(Exception):
    """Ray answered that the submission id is in use."""


class AbsentError(Exception):
    """Ray answered that it does not have the package."""


class AgentUnusableError(Exception):
    """The agent on a job's node can't be used from here; its files come by way of the dashboard."""


def check_no_more(
    status: int, headers: Mapping[str, str], position: int, job_id: str | None
) -> None:
    """See that an agent's answer without content means that ``position`` is the file's end.

    :raises RayLogNotFoundError: if the file is empty or shorter.
    :raises AgentUnusableError: if the agent did not serve the file at all.
    """
    size = headers.get("Content-Range", "").rpartition("/")[2]
    if status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not size.isdigit():
        raise AgentUnusableError(f"it answered {status}")
    if int(size) < max(position, 1):
        raise RayLogNotFoundError(
            job_id=job_id, reason=f"has a log of {size} bytes, of which {position} were read before"
        )


@dataclass(frozen=True)
class Question:
    """What a request asked for, as far as its answer's meaning depends on it.

    :param method: GET, POST, …
    :param path: The path.
    :param job_id: The job it was about, if it was about one.
    :param cluster: The cluster's address.
    """

    method: str
    path: str
    job_id: str | None
    cluster: str

    @property
    def is_submission(self) -> bool:
        """Whether it submits a job; only there does 400 mean that Ray can't use what was sent."""
        return self.method == "POST" and self.path == SUBMISSIONS


def error_of_answer(
    question: Question, status: int, headers: Mapping[str, str], text: str
) -> Exception:
    """Return the error that an answer other than 200 means.

    :param text: The beginning of its body.
    """
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return RayAuthenticationError(cluster=question.cluster, http_status=status)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return RayAddressError(
            address=question.cluster,
            reason=f"it redirects to {location(headers)}",
            hint="Give that address instead or, if it is a login page, what its proxy asks for.",
        )
    return refusal_told_by_ray(question, status, text) or _error_of_status(
        question, status, headers
    )


def _error_of_status(
    question: Question, status: int, headers: Mapping[str, str]
) -> AirflowSynapseError:
    failure = classify_status(status)
    if not failure.is_retryable:
        return RayAddressError(address=question.cluster, reason=failure.reason)
    return RayClusterUnreachableError(
        cluster=question.cluster,
        reason=failure.reason,
        job_id=question.job_id,
        retry_after=retry_after(headers),
    )


def refusal_told_by_ray(question: Question, status: int, text: str) -> Exception | None:
    """Return the error that Ray's own words mean, None if they are not Ray's.

    The texts are those of ``job_head.py``, ``job_manager.py`` and ``state_head.py`` of Ray.
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
    """Return where an answer redirects to, as scheme and host only."""
    target = urlsplit(headers.get("Location", ""))
    return f"{target.scheme}://{target.netloc}" if target.netloc else "another page"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header, which may be a number or a date."""
    value = headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def server_time(headers: Mapping[str, str]) -> float:
    """Return what time it is by the server's clock, to the second, else by ours."""
    try:
        return parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (TypeError, ValueError):
        return time.time()


def each_object(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON array one by one, so that a long one need not be read in one go.

    :raises ValueError: at what is not JSON or not an array.
    :raises TypeError: at what is not an object.
    """
    start = text.find("[")
    if start < 0 or text[:start].strip():
        raise ValueError("a list of jobs that is not a list")
    position = _end_of_gap(text, start + 1)
    while text[position : position + 1] != "]":
        row, end = _decoder.raw_decode(text, position)
        if not isinstance(row, dict):
            raise TypeError(f"a list of jobs with {row!r:.50} in it")
        yield row
        position = _end_of_gap(text, end)


def _end_of_gap(text: str, position: int) -> int:
    gap = _between_objects.match(text, position)
    return gap.end() if gap else position
