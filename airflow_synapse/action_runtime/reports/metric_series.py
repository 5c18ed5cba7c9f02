"""Numbers the values of metrics, and keeps fewer of them the more there are. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MAX_VALUES = 250_000
"""Values that are all kept. Of those that follow every tenth is, after as many again every hundredth, …"""
MAX_METRICS = 5_000
"""Names."""
_TOO_MANY_NAMES = f"Metrics with more names were left out, after {MAX_METRICS} names."


class MetricSeries:
    """Says which lines to write for the metrics that are reported."""

    def __init__(self) -> None:
        self._next_step: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._left_out: dict[str, tuple[int, Any]] = {}
        self._kept = 0
        self._stride = 1
        self._news = ""
        self._told: set[str] = set()

    def lines(self, fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Return a line for each step that values were reported for, usually one."""
        by_step: dict[int, dict[str, Any]] = {}
        for name, value in fields["metrics"].items():
            if name not in self._seen and len(self._seen) >= MAX_METRICS:
                self._news = _TOO_MANY_NAMES
                continue
            step = fields.get("step", self._next_step.get(name, 0))
            self._next_step[name] = step + 1
            if self._is_kept(name):
                self._left_out.pop(name, None)
                by_step.setdefault(step, {})[name] = value
            else:
                self._left_out[name] = step, value
        for step, values in by_step.items():
            yield {"metrics": values, "step": step}

    def _is_kept(self, name: str) -> bool:
        seen = self._seen[name] = self._seen.get(name, -1) + 1
        if seen % self._stride:
            return False
        self._kept += 1
        if self._kept % MAX_VALUES == 0:
            self._stride *= 10
            self._news = (
                f"From here on, only every {self._stride}th value of a metric is kept, because there are "
                "so many."
            )
        return True

    def news(self) -> str:
        """Return what was left out, once."""
        news, self._news = self._news, ""
        if news in self._told:
            return ""
        self._told.add(news)
        return news

    def last_ones(self) -> Iterator[dict[str, Any]]:
        """Return lines for the last values, if they were left out."""
        for name, (step, value) in self._left_out.items():
            yield {"metrics": {name: value}, "step": step}
        self._left_out = {}
