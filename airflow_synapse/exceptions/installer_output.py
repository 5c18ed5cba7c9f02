"""Finds the installer's own error in Ray's message about a failed runtime_env. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_OUTPUT = re.compile(r"Last \d+ lines of std(?:out|err):")
"""What Ray writes above the output of a command that failed, which it indents
(``SubprocessCalledProcessError.__str__``)."""

_ERROR = re.compile(r"\s*(?:\u00d7|(?:ERROR|error|fatal|[A-Z]\w*Error)\b)")
"""How pip, uv, conda, git and build backends begin the line with what went wrong."""

_MOST_LINES = 20


class FailedInstallation(NamedTuple):
    """Ray's message about a runtime_env that could not be set up, taken apart.

    :param error: What the installer said or, if it said nothing, the last line of Ray's traceback.
    :param rest: Ray's message without that.
    """

    error: tuple[str, ...]
    rest: str


def take_apart(message: str) -> FailedInstallation:
    """Return the installer's own error, and the rest of Ray's message."""
    lines = message.rstrip().splitlines()
    start = _beginning_of_error(lines)
    end = next((n for n in range(start, len(lines)) if _OUTPUT.match(lines[n])), len(lines))
    error = _without_margin(lines[start:end])[-_MOST_LINES:]
    return FailedInstallation(error, "\n".join([*lines[:start], *lines[end:]]).rstrip())


def _beginning_of_error(lines: Sequence[str]) -> int:
    """Return the number of the first line of the error in the output, or else of the last line."""
    is_output = False
    for number, line in enumerate(lines):
        if _OUTPUT.match(line):
            is_output = True
        elif is_output and _ERROR.match(line):
            return number
    return max(0, len(lines) - 1)


def _without_margin(lines: Sequence[str]) -> tuple[str, ...]:
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return tuple(line[margin:].rstrip() for line in lines if line.strip())
