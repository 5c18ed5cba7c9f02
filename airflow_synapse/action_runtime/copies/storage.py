"""Copies what a job leaves into its storage, which outlives the cluster: a folder or a URI.

A folder needs nothing. For a URI, the job's environment must have fsspec or pyarrow.
"""

# ruff: noqa: PTH103, PTH105, PTH112  # pathlib asks os, where an action may have replaced anything

from __future__ import annotations

import importlib
import shutil
import threading
import time
from collections.abc import Sequence

# Imported by name: see above.
from os import fdopen, lstat, makedirs, replace, urandom
from os.path import isdir
from pathlib import Path
from typing import IO, Any, Callable, Optional

from ..log_folder import new_file, open_own

PATIENCE = 60.0
"""Seconds after which copies are given up at the end of a job."""
COPIES_SUFFIX = ".airflow-synapse"
"""Our copies lie beside the folder of the action, so that it finds only its own files there."""

_EVERY = 10.0
"""Seconds between two copies of a report that grows."""
_SPARED = 20
"""How many times as long as a copy took the next one waits at least."""


class Storage:
    """The storage of a job.

    :param path: The folder or URI that the action uses.
    :param mode: Who may read the copies.
    :param tell: Called with a sentence for the job's log.
    """

    def __init__(self, path: str, mode: int, tell: Callable[[str], None]) -> None:
        self._copies, self._mode, self._tell = f"{path.rstrip('/')}{COPIES_SUFFIX}", mode, tell
        self._kept: dict[Path, tuple[int, int]] = {}
        self._has_ended = threading.Event()
        self._lock = threading.Lock()
        self._has_failed = False

    def keep_up(self, files: Callable[[], Sequence[Path]]) -> None:
        """From now on, copy files that have changed, in a thread of its own."""
        threading.Thread(
            target=self._keep_up, args=(files,), name="airflow-synapse-storage", daemon=True
        ).start()

    def keep(self, files: Sequence[Path]) -> None:
        """Copy files that have changed, for the last time. Raises nothing and takes a minute at most."""
        self._has_ended.set()
        last = threading.Thread(target=self._copy_changed, args=(list(files),), daemon=True)
        last.start()
        last.join(PATIENCE)
        if last.is_alive():
            self._say(f"copies in {self._copies} are missing: that took longer than {PATIENCE:g} s")

    def _keep_up(self, files: Callable[[], Sequence[Path]]) -> None:
        pause = 0.0
        while not self._has_ended.wait(max(_EVERY, pause)) and not self._has_failed:
            began = time.monotonic()
            self._copy_changed(files())
            pause = _SPARED * (time.monotonic() - began)

    def _copy_changed(self, files: Sequence[Path]) -> None:
        try:
            with self._lock:
                for file in files:
                    self._copy_if_changed(file)
        except Exception as exc:  # noqa: BLE001  # no copy is worth the action's work
            self._say(f"copies in {self._copies} are missing: {type(exc).__name__}: {exc}")

    def _copy_if_changed(self, file: Path) -> None:
        try:
            status = lstat(file)
        except FileNotFoundError:  # an artifact that was replaced
            return
        version = status.st_size, status.st_mtime_ns
        if self._kept.get(file) != version:
            _copy(file, self._copies, self._mode)
            self._kept[file] = version

    def _say(self, text: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            self._tell(text)


def make_folder(path: Optional[str], tell: Callable[[str], None]) -> None:
    """Make the folder that an action writes to, if it is one."""
    folder = None if path is None else _folder(path)
    try:
        if folder is not None:
            makedirs(folder, exist_ok=True)
    except OSError as exc:
        tell(f"the storage_path can't be made on this node: {exc}")


def existing(paths: Sequence[str]) -> tuple[str, ...]:
    """Return those that are there. Of URIs that can't be looked at, none."""
    return tuple(path for path in paths if _exists(path))


def _exists(path: str) -> bool:
    folder = _folder(path)
    if folder is not None:
        return isdir(folder)
    for look in (_exists_by_fsspec, _exists_by_pyarrow):
        try:
            return look(path)
        except Exception:  # noqa: BLE001, S112  # not installed, or it does not know this kind of storage
            continue
    return False


def _exists_by_fsspec(uri: str) -> bool:
    system, path = importlib.import_module("fsspec.core").url_to_fs(uri)
    return bool(system.exists(path))


def _exists_by_pyarrow(uri: str) -> bool:
    system, path = importlib.import_module("pyarrow.fs").FileSystem.from_uri(uri)
    return bool(system.get_file_info(path).type.name != "NotFound")


def _folder(path: str) -> Optional[str]:
    """Return the local folder that a path means; None for other URIs."""
    if path.startswith("file://"):
        return path[len("file://") :]
    return None if "://" in path else path


def _copy(file: Path, target: str, mode: int) -> None:
    folder = _folder(target)
    with open_own(file) as source:
        if folder is None:
            _send(source, target, file.name)
        else:
            _copy_into(source, Path(folder), file.name, mode)


def _copy_into(source: IO[bytes], folder: Path, name: str, mode: int) -> None:
    makedirs(folder, exist_ok=True)
    part = folder / f".{urandom(8).hex()}.part"
    fd = new_file(part, b"", mode)
    with fdopen(fd, "wb") as copy:
        shutil.copyfileobj(source, copy)
    replace(part, folder / name)  # a rename follows no link


def _send(source: IO[bytes], target: str, name: str) -> None:
    reasons = []
    for send in (_send_by_fsspec, _send_by_pyarrow):
        try:
            return send(source, target, name)
        except Exception as exc:  # noqa: BLE001  # the other one may know this kind of storage
            reasons.append(f"{type(exc).__name__}: {exc}")
            source.seek(0)
    raise OSError(f"neither fsspec nor pyarrow could write there ({'; '.join(reasons)})")


def _send_by_fsspec(source: IO[bytes], target: str, name: str) -> None:
    system, path = importlib.import_module("fsspec.core").url_to_fs(f"{target}/{name}")
    system.makedirs(system._parent(path), exist_ok=True)  # noqa: SLF001  # its own name for it
    with system.open(path, "wb") as copy:
        shutil.copyfileobj(source, copy)


def _send_by_pyarrow(source: IO[bytes], target: str, name: str) -> None:
    system: Any
    system, path = importlib.import_module("pyarrow.fs").FileSystem.from_uri(target)
    system.create_dir(path, recursive=True)
    with system.open_output_stream(f"{path}/{name}") as copy:
        shutil.copyfileobj(source, copy)
