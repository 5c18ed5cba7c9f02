"""Reads requirements files as pip does: their encoding, lines and options."""

from __future__ import annotations

import codecs
import optparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from airflow_synapse.exceptions import PluginRequirementsError

_BOMS = (  # UTF-32 first, because its BOMs begin like those of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_COMMENT = re.compile(r"(^|\s+)#.*$")
_CREDENTIALS = re.compile(r"(?<=//)[^/@\s]+(?=@)")

_NEEDS_QUOTES = re.compile(r"""[\s"'\\]""")

_VALUES = {
    "--index-url": ("-i", "--pypi-url"),
    "--extra-index-url": (),
    "--find-links": ("-f",),
    "--requirement": ("-r",),
    "--constraint": ("-c",),
    "--editable": ("-e",),
    "--no-binary": (),
    "--only-binary": (),
    "--trusted-host": (),
    "--use-feature": (),
    "--all-releases": (),
    "--only-final": (),
}
_FLAGS = ("--no-index", "--prefer-binary", "--require-hashes", "--pre")
_OF_REQUIREMENT = {
    "--hash": (),
    "--global-option": (),
    "--config-settings": ("-C", "--config-setting"),
}


class BadLineError(Exception):
    """A line can't be used. The reader of the file adds its path and line number."""

    def __init__(self, reason: str, hint: str = "") -> None:
        self.reason = without_credentials(reason)
        super().__init__(self.reason)
        self.hint = hint


@dataclass(frozen=True)
class Line:
    """A line as pip sees it: with continuations joined and without comments.

    :param number: The number of its first line in the file, from 1.
    """

    number: int
    text: str


def read_text(path: Path) -> str:
    """Return the text of a requirements file, decoded by its BOM, its encoding comment, or as UTF-8.

    :raises PluginRequirementsError: if it can't be read or decoded.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise PluginRequirementsError(
            path=str(path), reason=f"it can't be read: {exc.strerror}"
        ) from exc
    encoding = _encoding(data)
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError) as exc:
        raise PluginRequirementsError(
            path=str(path),
            reason=f"it is not valid {encoding}",
            hint="Save it as UTF-8, or name its encoding in a comment on the first line.",
        ) from exc


def _encoding(data: bytes) -> str:
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return encoding
    for line in data.split(b"\n")[:2]:
        coding = _CODING.match(line)
        if coding:
            return coding[1].decode("ascii")
    return "utf-8"


def join_lines(text: str) -> Iterator[Line]:
    """Yield the lines that have content."""
    for line in _joined(text):
        said = _COMMENT.sub("", line.text).strip()
        if said:
            yield Line(line.number, said)


def _joined(text: str) -> Iterator[Line]:
    parts: list[str] = []
    first = 1
    for number, line in enumerate(text.splitlines(), 1):
        is_comment = _COMMENT.match(line) is not None
        if not parts:
            first = number
        if line.endswith("\\") and not is_comment:
            parts.append(line.strip("\\"))
            continue
        yield Line(first, "".join([*parts, f" {line}" if is_comment else line]))
        parts = []
    if parts:
        yield Line(first, "".join(parts))


def split_options(text: str) -> tuple[str, list[str]]:
    """Split a line into its requirement and its options, as pip does: at the first dash."""
    words = text.split(" ")
    at = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    requirement = " ".join(words[:at]).strip()
    try:
        return requirement, shlex.split(" ".join(words[at:]))
    except ValueError as exc:
        raise BadLineError(str(exc)) from exc


def parse_options(words: list[str], *, of_requirement: bool) -> list[tuple[str, str]]:
    """Return a line's options in order as (long name, value). The value of a flag is "".

    :param of_requirement: Whether they follow a requirement, where pip allows other options.
    :raises BadLineError: if pip would reject them.
    """
    parser = _OptionParser(add_help_option=False, usage=optparse.SUPPRESS_USAGE)
    found: list[tuple[str, str]] = []
    known = _OF_REQUIREMENT if of_requirement else _VALUES
    for name, others in known.items():
        parser.add_option(name, *others, action="callback", type=str, callback=_note, nargs=1)
    for name in () if of_requirement else _FLAGS:
        parser.add_option(name, action="callback", callback=_note)
    parser.found = found
    _, rest = parser.parse_args(list(words))
    if rest:
        raise BadLineError(f"pip can't read {rest[0]!r} after its options")
    return found


class _OptionParser(optparse.OptionParser):
    found: list[tuple[str, str]]

    def error(self, msg: str) -> NoReturn:
        raise BadLineError(f"pip can't read it: {msg}")


def _note(option: optparse.Option, _given: str, value: Any, parser: Any) -> None:
    parser.found.append((option._long_opts[0], value or ""))  # noqa: SLF001  # no public name


def render_option(name: str, value: str) -> str:
    """Return one option as a line of its own that both pip and uv can read."""
    return f"{name} {quoted(value)}" if value else name


def quoted(word: str) -> str:
    """Return a word quoted so that pip reads it as one. Variables stay bare for pip to expand."""
    return shlex.quote(word) if _NEEDS_QUOTES.search(word) else word


def without_credentials(text: str) -> str:
    """Return the text with the user and password of each URL masked."""
    return _CREDENTIALS.sub("****", text)
