"""Files as the packages that Ray's runtime_env takes: a zip with a URI made of its content.

The same content has the same URI, so a package is uploaded once. It is looked through before
anything is read, and zipped only when somebody asks for the zip.
"""

from __future__ import annotations

import hashlib
import heapq
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from airflow_synapse.exceptions import PluginManifestError, RayJobSubmissionError
from airflow_synapse.rayjobs.packing.package_files import PackedFile, find_files

MAX_PACKAGE_BYTES = 100 * 1024 * 1024
"""What Ray's dashboard takes in one request; a constant of its ``ray_constants``."""

_CHUNK = 1024 * 1024
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Package:
    """Files to upload, found but not zipped yet.

    :param uri: ``gcs://_ray_pkg_<hash of the content>.zip``.
    :param size: Bytes of the files in all.
    """

    uri: str
    size: int
    files: tuple[PackedFile, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """The part of the URI that the upload route wants."""
        return self.uri.removeprefix("gcs://")

    @contextmanager
    def zipped(self) -> Iterator[Path]:
        """Give the zip as a temporary file, which is gone afterwards.

        Blocks while it writes, so a loop runs it in a thread.

        :raises RayJobSubmissionError: if a file changed since the URI was made, or the zip is
            over the limit.
        """
        with tempfile.TemporaryDirectory(prefix="airflow-synapse-") as folder:
            path = Path(folder, self.name)
            if _write_zip(path, self.files) != self.uri:
                raise RayJobSubmissionError(
                    reason="a file of its package changed while it was packed",
                    hint="Submit it again when nothing writes into the folder.",
                )
            if path.stat().st_size >= MAX_PACKAGE_BYTES:
                raise RayJobSubmissionError(
                    reason=f"its package is a zip of {_mib(path.stat().st_size)}, and Ray's "
                    f"dashboard takes {_mib(MAX_PACKAGE_BYTES)}"
                )
            yield path


def build_directory_package(
    folder: Path | str,
    *,
    excludes: Iterable[str] = (),
    required: Iterable[str] = (),
    include_parent_dir: bool = False,
) -> Package:
    """Return a folder as a package, less what its ignore files say.

    ``.gitignore`` and ``.rayignore`` count at every level, the deeper and then ``.rayignore``
    having the last word. Links are followed; empty folders stay.

    :param excludes: Further patterns in the manner of ``.gitignore``.
    :param required: Paths that must not be left out, relative to the folder.
    :param include_parent_dir: Whether the folder itself is in the package, as ``py_modules`` need.
    :raises PluginManifestError: if the folder can't be packed, leaves out what is required, or
        is over the limit, naming its largest files.
    """
    root = Path(folder).absolute()
    if not root.is_dir():
        raise PluginManifestError(path=str(folder), reason="there is no such folder")
    files = find_files(root, excludes=tuple(excludes))
    _check_required(root, files, required)
    _check_size(root, files)
    if include_parent_dir:
        files = [file.below(root.name) for file in files]
    try:
        return _package(files)
    except OSError as exc:
        raise PluginManifestError(
            path=str(exc.filename or folder), reason=f"it can't be read: {exc.strerror}"
        ) from exc


def build_files_package(files: Mapping[str, bytes]) -> Package:
    """Return these files, by POSIX path, as a package.

    :raises RayJobSubmissionError: if they are over the limit.
    """
    size = sum(map(len, files.values()))
    if size > MAX_PACKAGE_BYTES:
        largest = max(files, key=lambda name: len(files[name]))
        raise RayJobSubmissionError(
            reason=f"what is sent along has {_mib(size)}, most of it in {largest}, and Ray's "
            f"dashboard takes {_mib(MAX_PACKAGE_BYTES)}",
            hint="Hand large data over as a path or URL that the cluster can read.",
        )
    return _package([PackedFile(name, content, len(content)) for name, content in files.items()])


def _package(files: Iterable[PackedFile]) -> Package:
    ordered = tuple(sorted(files, key=lambda file: file.name))
    digest = _Digest()
    for file in ordered:
        digest.begin(file)
        for chunk in file.chunks(_CHUNK):
            digest.add(chunk)
    return Package(uri=digest.uri(), size=sum(file.size for file in ordered), files=ordered)


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
    return digest.uri()


class _Digest:
    """The content's hash: names, modes and bytes; not times, owners or how zlib packed it."""

    def __init__(self) -> None:
        self._whole = hashlib.blake2b(b"airflow-synapse", digest_size=20)
        self._file = hashlib.blake2b()

    def begin(self, file: PackedFile) -> None:
        self._whole.update(self._file.digest())
        self._file = hashlib.blake2b(f"{file.name}\0{file.mode:o}\0".encode())

    def add(self, chunk: bytes) -> None:
        self._file.update(chunk)

    def uri(self) -> str:
        whole = self._whole.copy()
        whole.update(self._file.digest())
        return f"gcs://_ray_pkg_{whole.hexdigest()}.zip"


def _check_required(root: Path, files: Iterable[PackedFile], required: Iterable[str]) -> None:
    names = {file.name for file in files}
    for path in required:
        folder = f"{path.rstrip('/')}/"
        if path in names or any(name.startswith(folder) for name in names):
            continue
        raise PluginManifestError(
            path=str(root / path),
            reason="its requirements need this file, but an ignore file or exclude leaves it out",
            hint=f"Write {_readmitting(path)} into the folder's .rayignore to have it uploaded.",
        )


def _readmitting(path: str) -> str:
    # A file in a folder that is left out is never looked at, so the folder has to be let in.
    parent = path.rpartition("/")[0]
    return f"!/{parent}/" if parent else f"!/{path}"


def _check_size(root: Path, files: Iterable[PackedFile]) -> None:
    files = list(files)
    size = sum(file.size for file in files)
    if size <= MAX_PACKAGE_BYTES:
        return
    largest = heapq.nlargest(5, files, key=lambda file: file.size)
    raise PluginManifestError(
        path=str(root),
        reason=f"the folder has {_mib(size)} to upload, and Ray's dashboard takes "
        f"{_mib(MAX_PACKAGE_BYTES)}. Its largest files: "
        + ", ".join(f"{file.name} ({_mib(file.size)})" for file in largest),
        hint="List what the job does not need in a .rayignore in the folder.",
    )


def _mib(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB"
