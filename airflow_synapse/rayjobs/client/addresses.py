"""Checks addresses and submission IDs. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from airflow_synapse.exceptions import RayAddressError, RayJobSubmissionError

_NEW_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_MAX_KNOWN_ID = 255


def parse_address(url: str) -> str:
    """Return an address without a trailing slash, e.g. ``https://host/prefix``.

    :raises RayAddressError: if it can't be the address of a dashboard. The error repeats no credentials.
    """
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except (ValueError, AttributeError):  # whose text may repeat a password
        raise RayAddressError(address=masked(str(url)), reason="it is malformed") from None
    reason = _what_is_wrong(url.strip(), host)
    if reason:
        raise RayAddressError(address=masked(url), reason=reason)
    return url.strip().rstrip("/")


def _what_is_wrong(url: str, host: str | None) -> str:
    parts = urlsplit(url)
    if parts.scheme == "ray":
        return "ray:// is the address of Ray Client, not of the Jobs API on the dashboard's port"
    if parts.scheme not in ("http", "https"):
        return "it must start with http:// or https://"
    if not host or re.search(r"[\s\\<>{}|^`\"']", url):
        return (
            "it names no host" if not host else "it contains characters that are invalid in a URL"
        )
    if parts.username or parts.password:
        return "it contains credentials, which belong in the token or the headers"
    if parts.query or parts.fragment:
        return "it must not contain ? or #"
    return ""


_USER_INFO = re.compile(r"//.*@", re.DOTALL)
"""A password may contain a slash, an at sign or a number sign, so this matches up to the last at sign."""


def masked(url: str) -> str:
    """Return a URL with asterisks for possible secrets: user and password, and what follows ``?`` and ``#``."""
    url = (
        _USER_INFO.sub("//***@", url)
        if "//" in url
        else re.sub(".*@", "***@", url, flags=re.DOTALL)
    )
    head, mark, _ = re.match(r"([^?#]*)([?#]?)(.*)", url, re.DOTALL).groups()  # type: ignore[union-attr]  # matches all
    return f"{head}{mark}***" if mark else url


def without_user_info(url: str) -> str:
    """Return a URL without user, password and query, for people whose browser asks for them."""
    head, mark, fragment = _USER_INFO.sub("//", url).partition("#")
    return head.partition("?")[0] + mark + fragment


def check_new_job_id(job_id: str) -> str:
    """Return the submission ID if Ray can use it for a new job.

    :raises RayJobSubmissionError: if Ray can't. If it contains ``/`` or has 300 characters, Ray
        answers 500 and keeps a phantom job that stays PENDING forever.
    """
    if (
        not isinstance(job_id, str)
        or not _NEW_ID.fullmatch(job_id)
        or not re.search("[A-Za-z0-9]", job_id)
    ):
        raise RayJobSubmissionError(
            job_id=job_id if isinstance(job_id, str) else repr(job_id),
            reason="Ray can't use its submission ID",
            hint="Use 1 to 128 characters of A-Z, a-z, 0-9, '_', '.' and '-'.",
        )
    return job_id


def job_path(job_id: str, *rest: str) -> str:
    """Return the path of a job in the API, whatever characters its submission ID has.

    :raises RayJobSubmissionError: if no job can have this ID.
    """
    if not job_id or not isinstance(job_id, str) or len(job_id) > _MAX_KNOWN_ID:
        raise RayJobSubmissionError(reason="a submission ID is a string of 1 to 255 characters")
    if "/" in job_id or job_id in (".", ".."):
        raise RayJobSubmissionError(job_id=job_id, reason="no job can have this submission ID")
    return "/".join(("/api/jobs", quote(job_id, safe=""), *rest))
