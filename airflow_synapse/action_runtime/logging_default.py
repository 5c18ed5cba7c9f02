"""Shows what an action logs from INFO on, until the action configures logging itself."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO


def show_info() -> None:
    """Show records of INFO and above that no handler takes, with their level.

    Python shows only warnings then, and without their level. A handler on the root logger would make
    ``basicConfig`` do nothing, and lines would come twice. ``logging.lastResort`` does neither.
    """
    logging.lastResort = _ToStandardError()
    logging.getLogger().setLevel(logging.INFO)


class _ToStandardError(logging.StreamHandler):  # type: ignore[type-arg]  # not on Python 3.9
    def __init__(self) -> None:
        logging.Handler.__init__(self, logging.INFO)
        self.setFormatter(logging.Formatter(logging.BASIC_FORMAT))

    @property
    def stream(self) -> TextIO:
        """Standard error as it is now: an action may replace it."""
        return sys.stderr

    @stream.setter
    def stream(self, _stream: Any) -> None: ...
