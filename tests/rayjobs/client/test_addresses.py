"""Which dashboard URLs and job ids can be used."""

from __future__ import annotations

import re
import traceback
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse.exceptions import RayAddressError, RayJobSubmissionError
from airflow_synapse.rayjobs.client.addresses import (
    check_new_job_id,
    job_path,
    parse_address,
    without_user_info,
)


@pytest.mark.parametrize(
    ("given_url", "url"),
    [
        ("http://127.0.0.1:8265", "http://127.0.0.1:8265"),
        ("http://head-node:8265/", "http://head-node:8265"),
        (" https://ray.example.com/prefix/ ", "https://ray.example.com/prefix"),
        ("http://[::1]:8265", "http://[::1]:8265"),
        ("http://head", "http://head"),
    ],
)
def test_dashboard_url_loses_only_its_trailing_slash(given_url: str, url: str) -> None:
    """A URL with host, port, prefix or IPv6 address stays as it is."""
    assert parse_address(given_url) == url


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "must start with http"),
        ("head:8265", "must start with http"),
        ("127.0.0.1:8265", "must start with http"),
        ("auto", "must start with http"),
        ("ftp://head:8265", "must start with http"),
        ("ray://head:10001", "ray:// is the address of Ray Client"),
        ("http://", "names no host"),
        ("http://:8265", "names no host"),
        ("http:///prefix", "names no host"),
        ("http://head:port", "malformed"),
        ("http://head:99999", "malformed"),
        ("http://[::1", "malformed"),
        ("http://head node:8265", "characters that are invalid in a URL"),
        ("http://head:8265/?token=1", "must not contain ? or #"),
        ("http://head:8265/#/jobs", "must not contain ? or #"),
        (None, "malformed"),
        (8265, "malformed"),
    ],
)
def test_what_is_no_dashboard_url_is_refused(url: object, told: str) -> None:
    """The error says what is wrong with the address and what one looks like."""
    with pytest.raises(RayAddressError, match=re.escape(told)) as caught:
        parse_address(url)  # type: ignore[arg-type]

    assert "http://head-node:8265" in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://me:s3cret@head:8265", "http://s3cret@head:8265", "http://me:s3cret@head:port"]
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    """A password in the address shows up nowhere in the error."""
    with pytest.raises(RayAddressError) as caught:
        parse_address(url)

    assert "s3cret" not in str(caught.value) + repr(caught.value)


@given(st.from_regex(r"[A-Za-z0-9_.-]{0,127}[A-Za-z0-9]", fullmatch=True))
def test_id_of_safe_characters_is_taken(job_id: str) -> None:
    """Letters, digits, underscore, dot and hyphen make an id."""
    assert check_new_job_id(job_id) == job_id


@pytest.mark.parametrize(
    "job_id",
    ["", " ", "a b", "a/b", "../x", ".", "..", "-", "ä", "a\n", "a\0", "x" * 129, "a%2Fb", 7, b"a"],
)
def test_id_that_ray_can_not_take_is_refused(job_id: object) -> None:
    """An id that would leave a phantom job is refused, naming it and what may be used."""
    with pytest.raises(RayJobSubmissionError, match="1 to 128 characters") as caught:
        check_new_job_id(job_id)  # type: ignore[arg-type]

    assert (job_id if isinstance(job_id, str) else repr(job_id)) == caught.value.job_id


@given(
    st.text(
        st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=255
    ).filter(lambda x: x not in {".", ".."})
)
def test_any_existing_id_has_a_path(job_id: str) -> None:
    """A job that somebody else named oddly can be asked for; its id stays one path segment."""
    path = job_path(job_id, "stop")

    segments = path.split("/")
    assert [unquote(segment) for segment in segments] == ["", "api", "jobs", job_id, "stop"]
    assert path.isascii()
    assert not re.search(r"[\s?#]", path)


@pytest.mark.parametrize("job_id", ["", "a/b", ".", "..", "x" * 256, None, 7])
def test_id_that_no_job_can_have_is_refused(job_id: object) -> None:
    """Nothing is asked of the cluster under an id that would be another path."""
    with pytest.raises(RayJobSubmissionError, match="submission ID"):
        job_path(job_id)  # type: ignore[arg-type]


@pytest.mark.parametrize("password", ["s3cret/Tail", "s3cret@Tail", "s3cret#Tail", "s3cret:Tail"])
@pytest.mark.parametrize("rest", ["", ":8265", ":8265/prefix", "/x?token=s3cret", ":port"])
def test_no_password_is_repeated(password: str, rest: str) -> None:
    """Whatever is in it, and whatever else is wrong with the address, the traceback included."""
    with pytest.raises(RayAddressError) as refused:
        parse_address(f"http://admin:{password}@head{rest}")

    told = "".join(traceback.format_exception(refused.value))
    assert "s3cret" not in told
    assert "Tail" not in told


def test_signature_in_an_address_is_not_repeated() -> None:
    """A presigned URL is a secret as well."""
    with pytest.raises(RayAddressError, match=r"https://bucket/x\?\*\*\*"):
        parse_address("https://bucket/x?X-Amz-Signature=s3cret")


@pytest.mark.parametrize("password", ["pw", "p/w", "p@w", "p#w"])
def test_page_for_people_has_no_password(password: str) -> None:
    """The rest of the URL stays as it is."""
    assert without_user_info(f"https://me:{password}@ray.example.com/x/#/jobs/j") == (
        "https://ray.example.com/x/#/jobs/j"
    )
