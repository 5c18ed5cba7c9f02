"""What an action gets as its parameter ``job``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Callable, Optional

from ..copies.storage import existing
from .records import Record, artifact_record, message_record, metrics_record, progress_record
from .sending import Sender
from .surroundings import AirflowRun, Surroundings

_PACKAGE = (__package__ or "").rpartition(".")[0]


class JobContext:
    """What an action knows about its job, and how it reports what it does.

    It may be passed to Ray tasks and actors, and to other processes. There it reports to the driver,
    never raises and waits at most two seconds.

    :param sink: Where reports go.
    :param surroundings: The task that submitted the job, and the job's storage.
    :param sender: Returns how other processes report.
    """

    def __init__(
        self,
        sink: Callable[[Record], None],
        surroundings: Surroundings,
        sender: Callable[[], Sender],
        *,
        is_strict: bool = True,
    ) -> None:
        self._sink, self._surroundings, self._sender = sink, surroundings, sender
        self._is_strict = is_strict

    def __reduce__(self) -> Any:
        _let_pickle_by_value()
        return _in_other_process, (self._sender(), tuple(self._surroundings))

    @property
    def airflow(self) -> Optional[AirflowRun]:
        """The task that submitted the job: dag_id, run_id, task_id, map_index, try_number and logical_date.

        None if the job was not submitted by Airflow.
        """
        return self._surroundings.airflow

    @property
    def storage_path(self) -> Optional[str]:
        """A folder or URI for checkpoints, the same for all tries of a task; None if none is set."""
        return self._surroundings.storage_path

    @property
    def earlier_storage_paths(self) -> tuple[str, ...]:
        """The storage paths before each clear of the task, newest first."""
        return self._surroundings.earlier_storage_paths or existing(
            self._surroundings.maybe_earlier
        )

    def progress(self, done: float, total: Optional[float] = None, step: str = "") -> None:
        """Report how far the action is.

        :param done: What is done, of ``total``.
        :param total: What there is to do; None if that is not known.
        :param step: The part of the work that this is about.
        """
        self._report(progress_record, done, total, step)

    def metrics(self, values: Mapping[str, float], step: Optional[int] = None) -> None:
        """Report numbers by name.

        :param values: Names and numbers, such as ``{"loss": 0.3}``.
        :param step: The number of the epoch, batch, …; None for the next number of that name.
        """
        self._report(metrics_record, values, step)

    def artifact(self, name: str, source: Any, media_type: Optional[str] = None) -> None:
        """Keep a file with the report. One with the same name is replaced.

        :param name: One path component, such as ``confusion.png``.
        :param source: Bytes, the path of a file, or a matplotlib figure, which becomes a PNG.
        :param media_type: Its type, by default guessed from the name.
        """
        self._report(artifact_record, name, source, media_type)

    def log(self, text: str, level: str = "info") -> None:
        """Add a message to the report. It does not appear in the job's log.

        :param level: debug, info, warning, error or critical.
        """
        self._report(message_record, text, level)

    def _report(self, make: Callable[..., Record], *args: Any) -> None:
        try:
            record = make(*args)
        except Exception as exc:
            if self._is_strict:
                raise
            record = message_record(f"A report was left out: {exc}", "warning")
        self._sink(record)


def _in_other_process(sender: Sender, surroundings: tuple[Any, ...]) -> JobContext:
    """Return the context for a task, an actor or a process that the action started."""
    return JobContext(sender.send, Surroundings(*surroundings), lambda: sender, is_strict=False)


def _let_pickle_by_value() -> None:
    """Let cloudpickle send these classes themselves, as other nodes don't have this package."""
    for name in ("ray.cloudpickle", "cloudpickle"):
        with suppress(Exception):  # too old, or not imported
            sys.modules[name].register_pickle_by_value(sys.modules[_PACKAGE])
