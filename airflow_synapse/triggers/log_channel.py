"""Tells whether the channel has room on which a triggerer's lines go to Airflow's supervisor.

A triggerer writes its lines into a socket and blocks while that is full, the event loop and all: 0.2 s
each time, measured on Airflow 3.3.2, whose supervisor takes in about 2,500 lines a second, 4 kB at a
time with queries to the database in between. So a job that prints more has to wait here.
"""

from __future__ import annotations

import os
import select
import stat
from contextlib import suppress
from functools import cache
from typing import Any

import structlog


def has_room() -> bool:
    """Return whether some dozens of lines can be written without blocking.

    Linux calls a Unix socket writable while three quarters of its buffer are free.
    """
    poller = _poller()
    return poller is None or bool(poller.poll(0))


@cache
def _poller() -> Any:
    """Return what watches the channel, None outside a triggerer, where lines go to a file."""
    output = getattr(structlog.get_config()["logger_factory"], "io", None)
    with suppress(AttributeError, OSError, ValueError):
        channel = output.fileno()  # type: ignore[union-attr]  # AttributeError is expected
        if stat.S_ISSOCK(os.fstat(channel).st_mode):
            poller = select.poll()
            poller.register(channel, select.POLLOUT)
            return poller
    return None
