"""Prints results in the format that ``--output`` names, with Airflow's own console."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from airflow.cli.simple_table import AirflowConsole
from rich.markup import escape

from airflow_synapse.masking import without_controls

FOR_PEOPLE = frozenset({"table", "plain"})
"""The formats for people, which shorten long texts and contain no JSON."""


class _Console(AirflowConsole):
    """Airflow's console, but a broken pipe is left to the command."""

    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError again. By default, rich would exit with an error code."""
        raise  # noqa: PLE0704


def print_rows(rows: Sequence[Mapping[str, Any]], output: str) -> None:
    """Print rows with the same columns. If there are none, JSON and YAML get an empty list."""
    console = _Console()
    if output == "json":
        console.print_as_json(list(rows))  # type: ignore[arg-type]  # takes whatever JSON can hold
    elif output == "yaml":
        console.print_as_yaml(list(rows))  # type: ignore[arg-type]  # and YAML
    elif rows:
        console.print_as([_as_text(row, output) for row in rows], output)


def print_one(facts: Mapping[str, Any], output: str) -> None:
    """Print facts about one thing: as rows for people, as one object for programs."""
    if output in FOR_PEOPLE:
        rows = [{"property": name, "value": value} for name, value in facts.items()]
        print_rows(rows, output)
    elif output == "json":
        _Console().print_as_json(dict(facts))
    else:
        _Console().print_as_yaml(dict(facts))


def moment(milliseconds: int | None) -> str | None:
    """Return one of Ray's timestamps as ISO 8601 in UTC."""
    if not milliseconds:
        return None
    when = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def shortened(text: str, length: int = 60) -> str:
    """Return the beginning of a text, on one line."""
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _as_text(row: Mapping[str, Any], output: str) -> dict[str, str]:
    texts = {name: _text(value) for name, value in row.items()}
    if output == "table":  # Airflow's console would read text in brackets as a colour
        return {name: escape(text) for name, text in texts.items()}
    return texts


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = json.dumps(value) if isinstance(value, (dict, list)) else str(value)
    return without_controls(text)
