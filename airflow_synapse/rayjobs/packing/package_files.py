"""The files of a folder that go into a package: ignore files, links and modes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_synapse.exceptions import PluginManifestError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

DEFAULT_EXCLUDES = (".git", ".venv", "venv", "__pycache__")
"""Never packed; Ray's own list."""

IGNORE_FILES = (".rayignore", ".gitignore")
"""The first has the last word."""

_FILE_MODE = stat.S_IFREG | 0o644
_PROGRAM_MODE = stat.S_IFREG | 0o755
_FOLDER_MODE = stat.S_IFDIR | 0o755


@dataclass(frozen=True)
class PackedFile:
    """One file, or one empty folder, of a package.

    :param name: Its path in the package; an empty folder's ends in a slash.
    :param source: Where to read it, or its content.
    :param size: Bytes.
    :param mode: As in ``st_mode``; only whether it can be executed is kept.
    """

    name: str
    source: Path | bytes = field(repr=False)
    size: int
    mode: int = _FILE_MODE

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")

    def below(self, folder: str) -> PackedFile:
        """Return it with a folder put around it."""
        return replace(self, name=f"{folder}/{self.name}")

    def chunks(self, size: int) -> Iterator[bytes]:
        """Yield its content."""
        if isinstance(self.source, bytes):
            yield self.source
            return
        with self.source.open("rb") as file:
            while chunk := file.read(size):
                yield chunk


@dataclass(frozen=True)
class _Rules:
    """Patterns and the folder they are about; that of the deepest file comes first."""

    base: str
    spec: GitIgnoreSpec


def find_files(root: Path, *, excludes: tuple[str, ...] = ()) -> list[PackedFile]:
    """Return the files and empty folders to pack, in no order. Reads no content.

    :raises PluginManifestError: if there is a folder that can't be listed, a link that goes
        round in a circle, a broken ignore file or a name a zip can't hold.
    """
    never = _spec(root, (*DEFAULT_EXCLUDES, *excludes))
    return list(_Search(root, never).below(root, "", (), ()))


@dataclass(frozen=True)
class _Search:
    root: Path
    never: GitIgnoreSpec

    def below(
        self, folder: Path, name: str, rules: tuple[_Rules, ...], around: tuple[str, ...]
    ) -> Iterator[PackedFile]:
        real = os.path.realpath(folder)
        if real in around:
            raise PluginManifestError(
                path=str(folder),
                reason="this link leads to a folder that contains it",
                hint="List it in .rayignore.",
            )
        entries = _entries(folder)
        if not entries and name:
            yield PackedFile(f"{name}/", b"", 0, _FOLDER_MODE)
        rules = (*_read_rules(folder, name), *rules)
        for entry in entries:
            path = f"{name}/{entry.name}" if name else entry.name
            yield from self._entry(entry, path, rules, (*around, real))

    def _entry(
        self, entry: os.DirEntry[str], name: str, rules: tuple[_Rules, ...], around: tuple[str, ...]
    ) -> Iterator[PackedFile]:
        is_folder = entry.is_dir()
        if self._is_left_out(f"{name}/" if is_folder else name, rules):
            return
        _check_name(entry, name)
        if is_folder:
            yield from self.below(Path(entry.path), name, rules, around)
        elif entry.is_file():  # no sockets, pipes and broken links
            status = entry.stat()
            mode = _PROGRAM_MODE if status.st_mode & 0o111 else _FILE_MODE
            yield PackedFile(name, Path(entry.path), status.st_size, mode)

    def _is_left_out(self, name: str, rules: tuple[_Rules, ...]) -> bool:
        if self.never.match_file(name):
            return True
        for rule in rules:
            verdict = rule.spec.check_file(name.removeprefix(rule.base)).include
            if verdict is not None:
                return bool(verdict)
        return False


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as exc:
        raise PluginManifestError(
            path=str(folder), reason=f"the folder can't be read: {exc.strerror}"
        ) from exc


def _read_rules(folder: Path, name: str) -> Iterator[_Rules]:
    for file in (folder / ignore_file for ignore_file in IGNORE_FILES):
        if file.is_file():
            lines = file.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
            yield _Rules(f"{name}/" if name else "", _spec(file, lines))


def _spec(where: Path, patterns: tuple[str, ...] | list[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(patterns)
    except (ValueError, TypeError) as exc:
        raise PluginManifestError(
            path=str(where), reason=f"a pattern in it can't be used: {exc}"
        ) from exc


def _check_name(entry: os.DirEntry[str], name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as exc:
        raise PluginManifestError(
            path=repr(entry.path), reason="its name is not valid UTF-8, so a zip can't hold it"
        ) from exc
