"""Builds the packages that Ray's runtime_env takes: zips whose URIs are made from their content.

The same content has the same URI, so a package is uploaded once. Files are listed and their sizes
checked before any content is read. They are zipped only when somebody asks for the zip.
"""

from __future__ import annotations

import hashlib
import heapq
import logging
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from airflow_synapse.exceptions import PluginManifestError, RayJobSubmissionError
from airflow_synapse.plugin.modules import NEEDED_BY_RAY, hidden_modules, module_files
from airflow_synapse.rayjobs.packing.package_files import PackedFile, find_files, why_left_out
from airflow_synapse.rayjobs.packing.secrets import refuse_secrets

log = logging.getLogger(__name__)

MAX_PACKAGE_BYTES = 100 * 1024 * 1024
"""The most that Ray's dashboard accepts in one request; a constant in its ``ray_constants``."""

_URI = "gcs://_ray_pkg_{}.zip"
_CHUNK = 1024 * 1024
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Package:
    """Files to upload that are not zipped yet, or a zip or wheel that is uploaded as it is.

    :param uri: ``gcs://_ray_pkg_<hash of the content>.zip``; for a wheel, with the wheel's name.
    :param size: Total size of the files, in bytes.
    :param ready: The zip or wheel that needs no packing.
    """

    uri: str
    size: int
    files: tuple[PackedFile, ...] = field(default=(), repr=False)
    ready: PackedFile | None = None

    @property
    def name(self) -> str:
        """The part of the URI that the upload route needs."""
        return self.uri.removeprefix("gcs://")

    @contextmanager
    def zipped(self) -> Iterator[Path]:
        """Yield the file to upload. A zip that was written for it is deleted afterwards.

        Blocks while it writes, so an event loop must run it in a thread.

        :raises RayJobSubmissionError: if a file changed since the URI was made, or the zip is
            over the limit.
        """
        if self.ready is not None and isinstance(self.ready.source, Path):
            if content_hash([self.ready]) not in self.uri:
                raise _changed()
            yield self.ready.source
            return
        with tempfile.TemporaryDirectory(prefix="airflow-synapse-") as folder:
            path = Path(folder, self.name)
            if _write_zip(path, self.files) != self.uri:
                raise _changed()
            if path.stat().st_size >= MAX_PACKAGE_BYTES:
                raise RayJobSubmissionError(
                    reason=f"its package is a zip of {_mib(path.stat().st_size)}, but the "
                    f"limit of Ray's dashboard is {_mib(MAX_PACKAGE_BYTES)}"
                )
            yield path


def _changed() -> RayJobSubmissionError:
    return RayJobSubmissionError(
        reason="a file in its package changed while the package was built",
        hint="Submit the job again when nothing is writing to the folder.",
    )


def build_directory_package(
    folder: Path | str,
    *,
    excludes: Iterable[str] = (),
    required: Iterable[str] = (),
    entrypoint: str = "",
    include: Sequence[str] = (),
    inside: str = "",
    include_parent_dir: bool = False,
    more: Mapping[str, bytes] | None = None,
) -> Package:
    """Return a folder as a package, without what git or its ``.rayignore`` files leave out.

    Links are followed; empty folders stay.

    :param excludes: Further patterns with the syntax of ``.gitignore``.
    :param required: Paths that must not be left out, relative to the folder.
    :param entrypoint: ``package.module:attribute``, whose module must not be left out if it exists.
    :param include: Patterns of files that are sent although they look like secrets.
    :param inside: The folder's path inside the plugin folder, ending in a slash; the patterns
        of ``include`` are relative to the plugin folder.
    :param include_parent_dir: Whether the folder itself is in the package, as ``py_modules`` require.
    :param more: Files to add, by POSIX path.
    :raises PluginManifestError: if the folder can't be packed, leaves out what is required, holds
        secrets, hides a module that Ray needs, or is over the limit, naming its largest files.
    """
    root = Path(os.path.abspath(folder))  # noqa: PTH100  # "." has no name, and links stay
    if root.is_file():
        raise PluginManifestError(
            path=str(folder),
            reason="this is a file, not a folder",
            hint="A working_dir is a folder or a .zip file.",
        )
    if not root.is_dir():
        raise PluginManifestError(path=str(folder), reason="there is no such folder")
    patterns = tuple(excludes)
    files = find_files(root, excludes=patterns)
    _check_required(root, files, _needed(root, required, entrypoint), patterns)
    _check_size(root, files)
    try:
        refuse_secrets(root, files, include=include, inside=inside)
        if include_parent_dir:
            files = [file.below(root.name) for file in files]
        _check_modules(root.parent if include_parent_dir else root, files)
        return _package([*files, *_in_memory(more or {})])
    except OSError as exc:
        raise _unreadable(Path(exc.filename or folder), exc) from exc


def build_module_package(path: Path, *, include: Sequence[str] = ()) -> Package:
    """Return a single ``.py`` file as a package that it can be imported from.

    :raises PluginManifestError: if it can't be read, is over the limit or holds a private key.
    """
    try:
        files = [_file(path)]
        _check_size(path.parent, files)
        refuse_secrets(path.parent, files, include=include)
        _check_modules(path.parent, files)
        return _package(files)
    except OSError as exc:
        raise _unreadable(path, exc) from exc


def build_ready_package(path: Path, name: str) -> Package:
    """Return a zip or a wheel as a package. It is read, but never held in memory.

    :param name: Its name on the cluster; ``{}`` becomes a hash of its content.
    :raises PluginManifestError: if it can't be read, or is over the limit.
    """
    try:
        file = _file(path)
        if file.size >= MAX_PACKAGE_BYTES:
            raise PluginManifestError(
                path=str(path),
                reason=f"the file has {_mib(file.size)}, but the limit of Ray's dashboard is "
                f"{_mib(MAX_PACKAGE_BYTES)}",
                hint="Put it where the cluster can read it, and give its URI.",
            )
        uri = f"gcs://{name.format(content_hash([file]))}"
        return Package(uri=uri, size=file.size, ready=file)
    except OSError as exc:
        raise _unreadable(path, exc) from exc


def _file(path: Path) -> PackedFile:
    return PackedFile(path.name, path, path.stat().st_size)


def _unreadable(path: Path, exc: OSError) -> PluginManifestError:
    return PluginManifestError(path=str(path), reason=f"it can't be read: {exc.strerror}")


def build_files_package(files: Mapping[str, bytes]) -> Package:
    """Return these files, keyed by POSIX path, as a package.

    :raises RayJobSubmissionError: if they are over the limit.
    """
    size = sum(map(len, files.values()))
    if size > MAX_PACKAGE_BYTES:
        largest = max(files, key=lambda name: len(files[name]))
        raise RayJobSubmissionError(
            reason=f"the files sent with the job have {_mib(size)}, most of it in {largest}, but "
            f"the limit of Ray's dashboard is {_mib(MAX_PACKAGE_BYTES)}",
            hint="Pass large data as a path or URL that the cluster can read.",
        )
    return _package(_in_memory(files))


def _in_memory(files: Mapping[str, bytes]) -> list[PackedFile]:
    return [PackedFile(name, content, len(content)) for name, content in files.items()]


def _package(files: Iterable[PackedFile]) -> Package:
    ordered = tuple(sorted(files, key=lambda file: file.name))
    uri = _URI.format(content_hash(ordered))
    return Package(uri=uri, size=sum(file.size for file in ordered), files=ordered)


def content_hash(files: Iterable[PackedFile]) -> str:
    """Return 40 hex digits that identify these files, in this order.

    :raises OSError: if one can't be read.
    """
    digest = _Digest()
    for file in files:
        digest.begin(file)
        for chunk in file.chunks(_CHUNK):
            digest.add(chunk)
    return digest.hex()


def _write_zip(path: Path, files: Iterable[PackedFile]) -> str:
    digest = _Digest()
    with zipfile.ZipFile(path, "w", compresslevel=1) as archive:
        for file in files:
            digest.begin(file)
            info = zipfile.ZipInfo(file.name, _EPOCH)
            info.external_attr = file.mode << 16 | (0x10 if file.is_folder else 0)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.file_size = file.size
            with archive.open(info, "w") as target:
                for chunk in file.chunks(_CHUNK):
                    digest.add(chunk)
                    target.write(chunk)
    return _URI.format(digest.hex())


class _Digest:
    """A hash of names, modes and bytes, but not of times, owners or how zlib compressed them."""

    def __init__(self) -> None:
        self._whole = hashlib.blake2b(b"airflow-synapse", digest_size=20)
        self._file = hashlib.blake2b()

    def begin(self, file: PackedFile) -> None:
        self._whole.update(self._file.digest())
        self._file = hashlib.blake2b(f"{file.name}\0{file.mode:o}\0".encode())

    def add(self, chunk: bytes) -> None:
        self._file.update(chunk)

    def hex(self) -> str:
        whole = self._whole.copy()
        whole.update(self._file.digest())
        return whole.hexdigest()


def _needed(root: Path, required: Iterable[str], entrypoint: str) -> Iterator[tuple[str, str]]:
    for path in required:
        yield path, "its requirements need this file"
    for path in module_files(entrypoint):
        if (root / path).is_file():
            yield path, f"the entrypoint {entrypoint} needs this file"
            return


def _check_required(
    root: Path,
    files: Iterable[PackedFile],
    needed: Iterable[tuple[str, str]],
    excludes: tuple[str, ...],
) -> None:
    names = {file.name for file in files}
    for path, why in needed:
        folder = f"{path.rstrip('/')}/"
        if path in names or any(name.startswith(folder) for name in names):
            continue
        left_out = why_left_out(root, path, excludes=excludes)
        if left_out is None:
            raise PluginManifestError(path=str(root / path), reason=f"{why}, but it does not exist")
        raise PluginManifestError(
            path=str(root / path),
            reason=f"{why}, but {left_out.pattern} leaves it out",
            hint=left_out.hint,
        )


def _check_modules(root: Path, files: Iterable[PackedFile]) -> None:
    for file, module in hidden_modules(file.name for file in files):
        if module in NEEDED_BY_RAY:
            raise PluginManifestError(
                path=str(root / file),
                reason=f"on the cluster it would hide Python's own module {module!r}, without "
                "which neither Ray nor the job can start",
                hint="Rename it, or move it into a package.",
            )
        log.warning(
            "%s hides Python's own module %r from the job and the libraries it uses. If one of "
            "them needs that module, the job fails. Rename the file, or move it into a package.",
            root / file,
            module,
        )


def _check_size(root: Path, files: Iterable[PackedFile]) -> None:
    files = list(files)
    size = sum(file.size for file in files)
    if size <= MAX_PACKAGE_BYTES:
        return
    largest = heapq.nlargest(5, files, key=lambda file: file.size)
    raise PluginManifestError(
        path=str(root),
        reason=f"the folder has {_mib(size)} to upload, but the limit of Ray's dashboard is "
        f"{_mib(MAX_PACKAGE_BYTES)}. The largest files: "
        + ", ".join(f"{file.name} ({_mib(file.size)})" for file in largest),
        hint="List the files that the job does not need in a .rayignore in the folder.",
    )


def _mib(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB"
