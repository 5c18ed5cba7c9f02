"""What an answer other than 200 means, in Ray's words or in HTTP's. Pure."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from airflow_synapse.exceptions import (
    RayJobNotFoundError,
    RayJobSubmissionError,
    RayLogNotFoundError,
)

_decoder = json.JSONDecoder()
_between_objects = re.compile(r"[\s,\[]*")


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


def refusal_told_by_ray(
    status: int, text: str, job_id: str | None, cluster: str, *, is_submission: bool = False
) -> Exception | None:
    """Return the error that Ray's own words mean, None if they are not Ray's.

    :param is_submission: Whether it is the answer to a submission, of which 400 says that Ray can't
        use it; of all else it is a proxy's.

    The texts are those of ``job_head.py``, ``job_manager.py`` and ``state_head.py`` of Ray.
    """
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
    if is_bad_request and is_submission:
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
    if not text.lstrip().startswith("["):
        raise ValueError("a list of jobs that is not a list")
    position = _end_of_gap(text, 0)
    while text[position : position + 1] != "]":
        row, end = _decoder.raw_decode(text, position)
        if not isinstance(row, dict):
            raise TypeError(f"a list of jobs with {row!r:.50} in it")
        yield row
        position = _end_of_gap(text, end)


def _end_of_gap(text: str, position: int) -> int:
    gap = _between_objects.match(text, position)
    return gap.end() if gap else position
