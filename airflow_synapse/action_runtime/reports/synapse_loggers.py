"""Reports what an action of synapse-sdk tells its logger. The logger goes on to do what it does."""

from __future__ import annotations

import copyreg
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Optional

from .context import JobContext
from .records import number

_MESSAGES = ("message", "debug")


def report_what_it_logs(logger: Any, job: JobContext) -> Any:
    """Return the logger, which from now on reports, too.

    Only its class is changed. It has to be picklable for Ray, and in a task it is the plain logger again.
    """
    with suppress(Exception):  # a class that can't be derived from: then it only logs
        logger.__class__ = _reporting(type(logger), _Reports(job))
    return logger


class _Reports:
    """What synapse-sdk's calls mean for a report. Raises nothing."""

    def __init__(self, job: JobContext) -> None:
        self._job = job
        self._inside = threading.local()

    @contextmanager
    def outermost(self, report: Callable[[], None]) -> Iterator[None]:
        """Report a call, unless it comes from another one of the logger's own."""
        is_inside = getattr(self._inside, "value", False)
        self._inside.value = True
        try:
            yield
        finally:
            self._inside.value = is_inside
        if not is_inside:
            with suppress(Exception):  # no report is worth the action's work
                report()

    def progress(self, current: Any, total: Any, step: Optional[str]) -> None:
        self._job.progress(current, total, step or "")

    def metrics(self, prefix: Any, values: dict[Any, Any]) -> None:
        numbers = {}
        for name, value in values.items():
            with suppress(TypeError):
                numbers[f"{prefix}/{name}"] = number(value, str(name))
        if numbers:
            self._job.metrics(numbers)

    def picture(self, category: Any, group: Any, index: Any, image: Any) -> None:
        name = f"{category}-{group}-{index}{Path(str(image)).suffix}"
        self._job.artifact(re.sub(r"[^\w.-]+", "_", name), image)

    def message(self, text: Any, level: Any) -> None:
        self._job.log(str(text), str(getattr(level, "value", level) or "info"))


class _Reporting:
    """The methods of a logger that reports. A call is reported once it has succeeded."""

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        function, args, *rest = self._plain.__reduce_ex__(self, max(2, protocol))
        if args[:1] == (type(self),):  # pickle refuses another class in this place otherwise
            function, args = copyreg._reconstructor, (self._plain, object, None)  # type: ignore[attr-defined]  # noqa: SLF001
        return (function, args, *rest)

    def set_progress(self: Any, current: Any, total: Any, step: Any = None) -> None:
        now = step or self.get_step()
        with self._reports.outermost(lambda: self._reports.progress(current, total, now)):
            self._plain.set_progress(self, current, total, step)

    def set_metrics(self: Any, value: Any, step: Any = None) -> None:
        now = step or self.get_step()
        with self._reports.outermost(lambda: self._reports.metrics(now, value)):
            self._plain.set_metrics(self, value, step)

    def log_metric(self: Any, category: Any, key: Any, value: Any, **metrics: Any) -> None:
        told = {key: value, **metrics}
        with self._reports.outermost(lambda: self._reports.metrics(category, told)):
            self._plain.log_metric(self, category, key, value, **metrics)

    def log_visualization(
        self: Any, category: Any, group: Any, index: Any, image: Any, **meta: Any
    ) -> None:
        with self._reports.outermost(lambda: self._reports.picture(category, group, index, image)):
            self._plain.log_visualization(self, category, group, index, image, **meta)

    def log_message(self: Any, message: Any, level: Any = None, **given: Any) -> None:
        told = level or given.get("context")
        with self._reports.outermost(lambda: self._reports.message(message, told)):
            self._plain.log_message(self, message, level, **given)

    def log(self: Any, level: Any, event: Any, data: Any, *args: Any, **given: Any) -> None:
        def report() -> None:
            if event in _MESSAGES:
                self._reports.message(data["content"], level)

        with self._reports.outermost(report):
            self._plain.log(self, level, event, data, *args, **given)


def _reporting(plain: Any, reports: _Reports) -> Any:
    # Only the class of an object that derives from nothing else can be changed to it.
    methods = {name: method for name, method in vars(_Reporting).items() if callable(method)}
    names = {
        **methods,
        "__module__": plain.__module__,
        "__qualname__": plain.__qualname__,
        "_plain": plain,
        "_reports": reports,
    }
    return type(plain.__name__, (plain,), names)
