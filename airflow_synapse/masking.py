"""Takes credentials out of texts before anybody reads them. Pure."""

from __future__ import annotations

import re

_MASK = "***"
_URL = re.compile(r"(?<=:)(//?)([^\s\"'<>]+)")
_PORT = re.compile(r"[^:]*(:\d*)?|\[[^\]]*\](:\d*)?")
_SECRET_IN_FRAGMENT = re.compile(
    r"(?i)#[^#]*(token|secret|password|signature|key|sig|auth)[^#]*=.*"
)
_HEADER = re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}")


def without_secrets(text: str) -> str:
    """Return a text with asterisks for credentials: in URLs, and after ``Bearer`` and ``Basic``.

    A password may contain a slash, an at sign or a number sign. So a URL with credentials is masked up to its
    last at sign. A query is masked whole, because presigned URLs have their signature there.
    """
    if "/" in text:
        text = _URL.sub(_masked, text)
    return _HEADER.sub(rf"\1\2{_MASK}", text)


def _masked(url: re.Match[str]) -> str:
    slashes, rest = url.groups()
    host = rest.partition("/")[0]
    if "@" in rest and ("@" in host or not _PORT.fullmatch(host)):
        credentials, _, server = rest.rpartition("@")
        rest = rest if set(credentials) == {"*"} else f"{_MASK}@{server}"
    head, question, _ = rest.partition("?")
    rest = f"{head}?{_MASK}" if question else rest
    return slashes + _SECRET_IN_FRAGMENT.sub(f"#{_MASK}", rest)
