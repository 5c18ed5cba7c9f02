"""Lets a limited number of lines of a log through per second, and counts those left out. Pure."""

from __future__ import annotations

from collections.abc import Sequence

_BURST = 10.0
"""Seconds' worth of lines that may come at once: a job that prints a table is not a chatty job."""

_TELLS_EVERY = 10.0
"""Seconds between two messages about lines that are left out."""


class LineLimit:
    """Counts lines and drops those beyond a rate.

    :param per_second: Lines per second on average; 0 lets all through.
    """

    def __init__(self, per_second: float) -> None:
        self._rate = per_second
        self._room = per_second * _BURST
        self._filled_at: float | None = None
        self._told_at = float("-inf")
        self._left_out = 0

    def admit(self, lines: Sequence[str], now: float) -> Sequence[str]:
        """Return the lines that may be shown.

        :param now: A monotonic time in seconds.
        """
        if not self._rate:
            return lines
        since = now - (self._filled_at if self._filled_at is not None else now)
        self._filled_at = now
        self._room = min(self._rate * _BURST, self._room + since * self._rate)
        shown = lines[: int(self._room)]
        self._room -= len(shown)
        if len(shown) < len(lines) and not self._left_out:
            self._told_at = now  # report it after a while, not at the first line
        self._left_out += len(lines) - len(shown)
        return shown

    def left_out(self, now: float, *, is_end: bool = False) -> int:
        """Return how many lines were left out since the last report, 0 if it is too early for another.

        :param is_end: Whether no more lines come, so that the report is due.
        """
        if not self._left_out or (now - self._told_at < _TELLS_EVERY and not is_end):
            return 0
        self._told_at = now
        count, self._left_out = self._left_out, 0
        return count
