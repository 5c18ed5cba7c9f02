"""Names files of the plugin folder in requirement lines by their paths on the cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, unquote

WORKING_DIR = "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"
"""Where Ray unpacks the plugin folder on a node; expanded there while it installs packages."""

_PLAIN = re.compile(r"[A-Za-z0-9._+/-]*")
_NAMED = re.compile(rf"(?P<url>file://)?(?P<quote>['\"]?){re.escape(WORKING_DIR)}/?(?P<rest>.*)")
_END_OF_URL = re.compile(r"[\s;#'\"\[]")
_END_OF_PATH = re.compile(r"(\[[^\]]*\])?\s*(;.*|\s-.*|\s#.*)?$")


def uploaded_path(inside: str) -> str:
    """Return the path or URL by which pip and uv find a file of the plugin folder.

    It is a URL if the path has characters with a meaning in a requirements file, such as spaces.

    :param inside: The path, relative to the plugin folder; "" or "." is the folder itself.
    """
    if inside in ("", "."):
        return WORKING_DIR
    if _PLAIN.fullmatch(inside):
        return f"{WORKING_DIR}/{inside}"
    return uploaded_url(inside)


def uploaded_url(inside: str) -> str:
    """Return the same as a URL, for use after ``name @``."""
    return f"file://{WORKING_DIR}" + ("" if inside in ("", ".") else f"/{quote(inside)}")


def uploaded_paths(line: str) -> Iterator[str]:
    """Yield the files of the plugin folder that a requirement line names, relative to it."""
    if line.startswith("#"):
        return
    named = _NAMED.search(line)
    if named is None:
        return
    rest = named["rest"]
    if named["url"]:
        yield unquote(_END_OF_URL.split(rest, maxsplit=1)[0])
    elif named["quote"]:
        yield rest.partition(named["quote"])[0]
    elif line.lstrip().startswith("-"):
        yield re.split(r"\s", rest, maxsplit=1)[0]
    else:
        yield _END_OF_PATH.sub("", rest, count=1)
