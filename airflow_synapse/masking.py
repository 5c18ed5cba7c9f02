"""Takes out of texts what must not reach their readers: credentials, and codes for terminals. Pure."""

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


_COLOUR = r"\x1b\[[0-9;:]*m"
_CONTROLS = (
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, movements of the cursor
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links, answers that are typed as if by the user
    r"|\x1b[ -/]*[0-~]?"
)
_ALL_CONTROLS = re.compile(rf"{_CONTROLS}|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CONTROLS_BUT_COLOURS = re.compile(
    rf"({_COLOUR})|{_CONTROLS}|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)


def without_controls(text: str) -> str:
    """Return a text without control characters, except line breaks and tabs, and without codes for terminals.

    Such codes can hide text, forge what a command printed, or have a terminal type a command.
    """
    return _ALL_CONTROLS.sub("", text)


def for_terminal(line: str) -> str:
    """Return a line of a log as a terminal may show it: colours stay, and carriage returns of progress bars."""
    return _CONTROLS_BUT_COLOURS.sub(lambda found: found[1] or "", line)
