"""Finds files that nobody means to send: private keys, and files with the usual names of secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from airflow_synapse.exceptions import PluginManifestError
from airflow_synapse.rayjobs.packing.ignore_files import PatternList
from airflow_synapse.rayjobs.packing.package_files import PackedFile

_READ_BYTES = 1024**2
"""How much of a file is searched: a key may come after a long chain of certificates."""

_KEY = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
    # A line break, or one that JSON or YAML escapes, and then what a key begins with. So neither
    # code that looks for keys nor a text about them is mistaken for one.
    rb"(?:(?:[ \t]*(?:[\r\n]|\\+[nr]))+[ \t]*[A-Za-z0-9+/]|[ \t]*[A-Za-z0-9+/=]{32})"
)
_NO_CREDENTIALS = frozenset({".py", ".pyi", ".pyx", ".pxd", ".md", ".rst"})
_SUFFIXES_OF_SSH_KEYS = frozenset({"", ".key", ".pem", ".ppk", ".priv", ".bak", ".old"})


def refuse_secrets(
    root: Path, files: Iterable[PackedFile], *, include: Sequence[str], inside: str = ""
) -> None:
    """Check that a package contains no secrets except those that ``include`` allows.

    :param root: The folder that is packed.
    :param include: Patterns of files that may be sent, relative to the plugin folder.
    :param inside: The packed folder's path inside the plugin folder, ending in a slash.
    :raises PluginManifestError: naming the files that look like secrets.
    :raises OSError: if a file can't be read.
    """
    wanted = _patterns(root, include)
    found = [
        (file.name, reason)
        for file in sorted(files, key=lambda file: file.name)
        if not _is_wanted(wanted, f"{inside}{file.name}") and (reason := _secret(file))
    ]
    if not found:
        return
    name, reason = found[0]
    others = ", ".join(other for other, _ in found[1:6])
    raise PluginManifestError(
        path=str(root / name),
        reason=f"it would be sent to the cluster, but {reason}"
        + (f" (also: {others}{', …' if len(found) > 6 else ''})" if others else ""),
        hint=f"If the job does not need it, list it in .gitignore or .rayignore. If it does, add it "
        f'to the plugin\'s config.yaml: include: ["{inside}{name}"].',
    )


def _secret(file: PackedFile) -> str:
    if file.is_folder:
        return ""
    path = PurePosixPath(file.name.casefold())
    if path.name == ".env" or (
        path.name.startswith("credentials") and path.suffix not in _NO_CREDENTIALS
    ):
        return "its name suggests that it contains secrets"
    if path.name.startswith("id_") and path.suffix in _SUFFIXES_OF_SSH_KEYS:
        return "it is named like a private SSH key"
    return "it contains a private key" if _holds_key(file) else ""


def _holds_key(file: PackedFile) -> bool:
    begin = next(file.chunks(_READ_BYTES), b"")
    return b"PRIVATE KEY" in begin and _KEY.search(begin) is not None


def _patterns(root: Path, include: Sequence[str]) -> PatternList:
    lines = [text.removeprefix("./").encode() for text in include]
    return PatternList.of_lines(root, lines, "include")


def _is_wanted(wanted: PatternList, name: str) -> bool:
    for path, is_folder in _with_folders(name):
        verdict = wanted.verdict(wanted.base + path.encode(), is_folder=is_folder)
        if verdict:
            return not verdict.readmits
    return False


def _with_folders(name: str) -> Iterator[tuple[str, bool]]:
    yield name, False
    for folder in PurePosixPath(name).parents:
        if folder.name:
            yield str(folder), True
