"""Brings together where the reports of this process's job go and who may report."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Callable, Optional

from ..copies.storage import Storage
from ..log_folder import JobPlace
from .context import JobContext
from .receiving import Receiver
from .report_file import ReportFile
from .sending import Sender
from .surroundings import Surroundings


class JobReports:
    """The reports of one job. They cost nothing before the first one.

    :param place: The job, and the folder of its log.
    :param tell: Called with a sentence for the job's log.
    :param surroundings: The task that submitted the job, and the job's storage.
    :param storage: Where the report is copied to while it grows.
    """

    def __init__(
        self,
        place: JobPlace,
        tell: Callable[[str], None],
        surroundings: Surroundings,
        storage: Optional[Storage] = None,
    ) -> None:
        self._storage = storage
        self._file = ReportFile(place, tell, self._keep_up)
        self._tell = tell
        self._receiver: Optional[Receiver] = None
        self._lock = threading.Lock()
        self.context = JobContext(self._file.take, surroundings, self._sender)
        """What the action gets."""

    def _keep_up(self) -> None:
        if self._storage is not None:
            self._storage.keep_up(self._file.files)

    def _sender(self) -> Sender:
        try:
            with self._lock:
                self._receiver = self._receiver or Receiver(self._file.take)
            return self._receiver.sender()
        except Exception as exc:  # noqa: BLE001  # no report is worth the action's work
            self._tell(f"tasks and actors can't report: {exc!r}")
            return Sender(None, "")

    def end(self) -> list[Path]:
        """Write what is on its way, and return the files that hold the report."""
        if self._receiver is not None:
            with suppress(Exception):  # the action may have closed its sockets
                self._receiver.drain()
        self._file.close()
        return self._file.files()
