"""Finds the files of a folder that go into a package. Follows links and keeps modes."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from airflow_synapse.exceptions import PluginManifestError
from airflow_synapse.rayjobs.packing.ignore_files import (
    IN_EXCLUDES,
    NEVER,
    IgnoreRules,
    Pattern,
    as_bytes,
)

_FILE_MODE = stat.S_IFREG | 0o644
_PROGRAM_MODE = stat.S_IFREG | 0o755
_FOLDER_MODE = stat.S_IFDIR | 0o755


@dataclass(frozen=True)
class PackedFile:
    """One file, or one empty folder, of a package.

    :param name: Its path in the package; an empty folder's ends in a slash.
    :param source: Where to read it, or its content.
    :param size: Bytes.
    :param mode: As in ``st_mode``, but only the executable bit is kept.
    """

    name: str
    source: Path | bytes = field(repr=False)
    size: int
    mode: int = _FILE_MODE

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")

    def below(self, folder: str) -> PackedFile:
        """Return the same file inside this folder."""
        return replace(self, name=f"{folder}/{self.name}")

    def chunks(self, size: int) -> Iterator[bytes]:
        """Yield its content."""
        if isinstance(self.source, bytes):
            yield self.source
            return
        with self.source.open("rb") as file:
            while chunk := file.read(size):
                yield chunk


def find_files(root: Path, *, excludes: tuple[str, ...] = ()) -> list[PackedFile]:
    """Return the files and empty folders to pack, in no order. Reads no content.

    :raises PluginManifestError: if a folder can't be listed, a link leads to itself or to a
        folder around it, an ignore file can't be read, or a zip can't hold a name.
    """
    search = _Search(as_bytes(_real(root)))
    return list(search.below(root, "", IgnoreRules.around(_real(root), excludes), ()))


@dataclass(frozen=True)
class LeftOut:
    """Why a path is not packed.

    :param path: The path, or the parent folder that is left out, which ends in a slash.
    :param pattern: The pattern that leaves it out.
    """

    path: str
    pattern: Pattern

    @property
    def hint(self) -> str:
        """What to do to have it packed anyway."""
        if self.pattern.origin == NEVER:
            return "Rename the file or folder."
        if self.pattern.origin == IN_EXCLUDES:
            return "Remove the pattern from excludes, or add one that lets the file in again."
        escaped = re.sub(r"([\\*?\[])", r"\\\1", self.path)
        return f"To upload it, add the line !/{escaped} to the folder's .rayignore."


def why_left_out(root: Path, name: str, *, excludes: tuple[str, ...] = ()) -> LeftOut | None:
    """Return what keeps a path out of a folder's package; None if nothing does."""
    real = _real(root)
    rules = IgnoreRules.around(real, excludes).inside(real)
    path = real
    for part in Path(name).parts:
        path = path / part
        is_folder = path.is_dir()
        pattern = rules.leaving_out(os.fsencode(path), is_folder=is_folder)
        if pattern:
            relative = path.relative_to(real).as_posix()
            return LeftOut(f"{relative}/" if is_folder else relative, pattern)
        if not is_folder:
            break
        rules = rules.inside(path)
    return None


def _real(root: Path) -> Path:
    # The repository that counts contains the folder itself, not a link to it.
    return Path(os.path.realpath(root))


@dataclass(frozen=True)
class _Search:
    base: bytes

    def below(
        self, folder: Path, name: str, rules: IgnoreRules, around: tuple[str, ...]
    ) -> Iterator[PackedFile]:
        real = os.path.realpath(folder)
        if real in around:
            raise _goes_round(folder, "to a folder that contains it")
        entries = _entries(folder)
        if not entries and name:
            yield PackedFile(f"{name}/", b"", 0, _FOLDER_MODE)
        rules = rules.inside(Path(os.fsdecode(self.base + os.fsencode(name))))
        for entry in entries:
            path = f"{name}/{entry.name}" if name else entry.name
            yield from self._entry(entry, path, rules, (*around, real))

    def _entry(
        self, entry: os.DirEntry[str], name: str, rules: IgnoreRules, around: tuple[str, ...]
    ) -> Iterator[PackedFile]:
        status = _status(entry)
        is_folder = status is not None and stat.S_ISDIR(status.st_mode)
        if rules.leaving_out(self.base + os.fsencode(name), is_folder=is_folder):
            return
        _check_name(entry, name)
        if status is None:
            _refuse_link_to_itself(entry)
        elif is_folder:
            yield from self.below(Path(entry.path), name, rules, around)
        elif stat.S_ISREG(status.st_mode):  # no sockets and pipes
            mode = _PROGRAM_MODE if status.st_mode & 0o111 else _FILE_MODE
            yield PackedFile(name, Path(entry.path), status.st_size, mode)


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return the status of the entry, or of a link's target; None if it can't be read."""
    try:
        return entry.stat()
    except OSError:
        return None


def _refuse_link_to_itself(entry: os.DirEntry[str]) -> None:
    # A broken link has no content, so leaving it out loses nothing.
    try:
        entry.stat()
    except FileNotFoundError:
        return
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise _goes_round(Path(entry.path), "back to itself") from exc
        raise PluginManifestError(
            path=entry.path, reason=f"it can't be read: {exc.strerror}"
        ) from exc


def _goes_round(path: Path, where: str) -> PluginManifestError:
    return PluginManifestError(
        path=str(path),
        reason=f"this link leads {where}",
        hint="Delete it, or list it in .rayignore.",
    )


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as exc:
        raise PluginManifestError(
            path=str(folder), reason=f"the folder can't be read: {exc.strerror}"
        ) from exc


def _check_name(entry: os.DirEntry[str], name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as exc:
        raise PluginManifestError(
            path=repr(entry.path), reason="its name is not valid UTF-8, so a zip can't hold it"
        ) from exc
