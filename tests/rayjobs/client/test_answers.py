"""What Ray's refusals mean."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from airflow_synapse.exceptions import (
    RayJobNotFoundError,
    RayJobSubmissionError,
    RayLogNotFoundError,
)
from airflow_synapse.rayjobs.client.answers import (
    SUBMISSIONS,
    AbsentError,
    IdInUseError,
    Question,
    location,
    refusal_told_by_ray,
    retry_after,
    server_time,
)

CLUSTER = "http://head:8265"
SUBMISSION = Question("POST", SUBMISSIONS, "j", CLUSTER)
LOOK = Question("GET", "/api/jobs/j", "j", CLUSTER)
IN_USE = (
    "Traceback (most recent call last):\nValueError: Job with submission_id j already exists. "
    "Please use a different submission_id.\n"
)


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (404, "Job j does not exist", RayJobNotFoundError),
        (404, "Package gcs://_ray_pkg_1.zip does not exist", AbsentError),
        (500, IN_USE, IdInUseError),
        (400, IN_USE, IdInUseError),
        (500, "A file is not found at: /tmp/ray/x.log", RayLogNotFoundError),
        (500, "Agent for node id: 00 doesn't exist.", RayLogNotFoundError),
        (400, "Traceback…\nTypeError: entrypoint must be a string", RayJobSubmissionError),
        (500, "Request failed with status code 400: …\nTypeError: odd", RayJobSubmissionError),
    ],
)
def test_refusal_in_ray_s_words_is_understood(
    status: int, text: str, kind: type[Exception]
) -> None:
    """Ray answers 500 to most things; its text tells them apart."""
    assert type(refusal_told_by_ray(SUBMISSION, status, text)) is kind


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (404, "<html>404 page not found</html>"),
        (404, ""),
        (500, "Internal Server Error"),
        (503, "no healthy upstream"),
        (400, "Bad Request"),
    ],
)
def test_refusal_in_other_words_is_not_ray_s(status: int, text: str) -> None:
    """A proxy's own 404 does not mean that a job is gone."""
    assert refusal_told_by_ray(LOOK, status, text) is None


def test_refused_job_is_told_in_ray_s_last_line() -> None:
    """Of a traceback of the head node only its last line is shown."""
    text = "Traceback (most recent call last):\n  File …\nTypeError: entrypoint must be a string\n"
    error = refusal_told_by_ray(SUBMISSION, 400, text)

    assert str(error) == (
        "The Ray job 'j' was not submitted to http://head:8265: Ray refused it: "
        "TypeError: entrypoint must be a string."
    )


def test_redirect_is_told_without_its_path() -> None:
    """A login page's address is told without what its query may hold."""
    assert location({"Location": "https://login.example.com/?state=secret"}) == (
        "https://login.example.com"
    )
    assert location({"Location": "/login"}) == "another page"
    assert location({}) == "another page"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("soon", None), ("", None), ("nan", 0.0)],
)
def test_retry_after_as_a_number(value: str, seconds: float | None) -> None:
    """Seconds are taken as they are, never below 0; anything else counts for nothing."""
    assert retry_after({"Retry-After": value}) == seconds


def test_retry_after_as_a_date() -> None:
    """A date becomes the seconds until then."""
    seconds = retry_after({"Retry-After": formatdate(time.time() + 60, usegmt=True)})

    assert seconds is not None
    assert 55 < seconds <= 61


def test_server_s_time_is_its_own() -> None:
    """The Date header counts, and where a proxy took it away, our clock."""
    assert server_time({"Date": formatdate(1_000_000_000, usegmt=True)}) == 1_000_000_000
    for headers in ({}, {"Date": "soon"}):
        assert abs(server_time(headers) - time.time()) < 1
