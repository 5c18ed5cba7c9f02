"""Figures as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Table:
    """A table that grows row by row and shows each row as it comes."""

    title: str
    columns: Sequence[str]
    note: str = ""
    rows: list[Sequence[str]] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        row = [cell if isinstance(cell, str) else number(cell) for cell in cells]
        self.rows.append(row)
        print(
            self.title,
            "|",
            " | ".join(f"{c}: {v}" for c, v in zip(self.columns, row, strict=True)),
            flush=True,
        )

    def markdown(self) -> str:
        lines = [f"### {self.title}", ""]
        if self.note:
            lines += [self.note, ""]
        lines.append("| " + " | ".join(self.columns) + " |")
        lines.append(
            "|" + "|".join("---" if n == 0 else "---:" for n in range(len(self.columns))) + "|"
        )
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join(lines) + "\n"


def number(value: object) -> str:
    """Return a number with three digits that mean something, and ``-`` for none."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that so many of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def ratio(value: float | None, base: float | None) -> str:
    """Return how many times the base a value is."""
    return f"{number(float(value) / base)} x" if value is not None and base else "-"
