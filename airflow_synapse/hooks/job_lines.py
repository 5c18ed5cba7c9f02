"""Shows the lines of a job's log in the log of the task, or of its trigger."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import structlog

from airflow_synapse.rayjobs.logs.levels import INFO, level_of

SOURCE = "ray.job"
"""The lines' ``logger`` key. Airflow's UI can filter by it."""


def show_lines(lines: Sequence[str], *, log: Any = None) -> None:
    """Log each line as it is, with the level that it shows.

    :param log: The logger of the task or trigger. Airflow's is of structlog, and the lines get a source of their
        own beside it. If somebody has put one of Python's loggers in its place, the lines go there.
    """
    logger = log if isinstance(log, logging.Logger) else _logger()
    for line in lines:
        getattr(logger, _loggable(level_of(line), logger))(line)  # a line of the job, not a format


def _loggable(level: str, logger: Any) -> str:
    """Return the level, or INFO instead of DEBUG if Airflow drops that: no line may be lost."""
    return INFO if level == "debug" and not logger.isEnabledFor(logging.DEBUG) else level


def _logger() -> Any:
    return structlog.get_logger(SOURCE).bind()
