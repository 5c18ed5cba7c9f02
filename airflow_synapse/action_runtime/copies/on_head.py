"""Takes files in on the head node. Ray sends this code there, and it runs in an actor."""

# ruff: noqa: PTH104, PTH108  # as in the modules that this uses

from __future__ import annotations

import importlib
import sys
from os import close, rename, unlink, urandom
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

from .. import job_log, log_folder, ray_job
from ..job_log import write_all
from ..log_folder import move_aside, new_file


def modules_to_send() -> list[ModuleType]:
    """Return the modules that the code here needs on the head."""
    return [sys.modules[__name__], log_folder, job_log, ray_job]


class Shelf:
    """The log folder of the node that this runs on.

    :param mode: Who may read the files.
    """

    def __init__(self, mode: int) -> None:
        worker: Any = importlib.import_module("ray._private.worker")
        self._logs = Path(worker._global_node.get_logs_dir_path())  # noqa: SLF001  # Ray has no other way
        self._mode = mode
        self._part: Optional[tuple[Path, Path, int]] = None

    def node_id(self) -> str:
        """Return the ID of the node."""
        ray: Any = importlib.import_module("ray")
        return str(ray.get_runtime_context().get_node_id())

    def begin(self, name: str) -> None:
        """Begin a file."""
        part = self._logs / f".airflow-synapse-{urandom(8).hex()}.part"
        self._part = self._logs / Path(name).name, part, new_file(part, b"", self._mode)

    def add(self, data: bytes) -> None:
        """Write the next bytes of the file."""
        if self._part is None:
            raise RuntimeError("no file was begun")
        try:
            write_all(self._part[2], data)
        except OSError:
            self._give_up()
            raise

    def end(self) -> None:
        """Give the file its name. What had that name is moved aside."""
        if self._part is None:
            raise RuntimeError("no file was begun")
        file, part, fd = self._part
        self._part = None
        close(fd)
        move_aside(file)
        rename(part, file)

    def _give_up(self) -> None:
        if self._part is not None:
            _, part, fd = self._part
            self._part = None
            close(fd)
            unlink(part)
