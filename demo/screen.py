"""What the demo shows: steps with their times, the tasks' logs, results as a table."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.text import Text

_COLORS = ("cyan", "magenta", "yellow", "green", "blue")


class Screen:
    """A terminal with a status line at its end; plain lines where there is no terminal."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.seconds: dict[str, float] = {}
        self._colors: dict[str, str] = {}
        self._lock = threading.Lock()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show what is being done, and then how long it took."""
        began = time.monotonic()
        self.console.rule(f"[bold]{escape(title)}", align="left")
        yield
        self.seconds[title] = time.monotonic() - began
        self.console.print(f"[green]✓[/] {escape(title)} [dim]({self.seconds[title]:.1f} s)[/]")

    def note(self, text: str) -> None:
        """Say what is waited for."""
        with self._lock:
            self.console.print(f"[dim]… {escape(text)}[/]")

    def line(self, source: str, text: str) -> None:
        """Show a line of a task's log."""
        color = self._colors.setdefault(source, _COLORS[len(self._colors) % len(_COLORS)])
        self.console.print(Text(f"{source:>12} │ ", style=color) + Text.from_ansi(text))

    def state(self, source: str, state: str) -> None:
        """Show that a task has changed its state."""
        color = {"success": "green", "failed": "red", "upstream_failed": "red"}.get(state, "dim")
        self.console.print(Text(f"{source:>12} │ ", style="dim") + Text(f"[{state}]", style=color))

    def table(self, title: str, rows: Mapping[str, object]) -> None:
        """Show names and values, each value on one line, so that a path can be copied whole."""
        width = max(map(len, rows), default=0)
        self.console.print(Text(title, style="bold"))
        for name, value in rows.items():
            self.console.print(Text(f"  {name:<{width}}  ", style="dim") + Text(str(value)))

    def say(self, text: str) -> None:
        """Say something that is worth a line of its own."""
        self.console.print(Text(text))

    def error(self, text: str) -> None:
        """Show what went wrong."""
        self.console.print(Text(text, style="red"))
