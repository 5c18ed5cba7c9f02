"""Masks a job's entrypoint, metadata and log as Airflow masks the task's templates. Pure.

Airflow stores a task's rendered templates with ``***`` in place of the secrets it knows. Comparing
them with the job's real texts reveals the secrets, so that they can be hidden wherever the job repeats
them. That is mostly its log, because Ray's driver prints the command that it runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from airflow_synapse.rayjobs.models import JobInfo

MASK = "***"

_TRUNCATED = "Truncated. "
"""How Airflow begins the stored part of a field that is too long. The rest may hold secrets."""

_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_MASKS = re.compile(r"(?:\*\*\*)+")
_SHORTEST_SECRET = 3
_SHORTEST_LINE = 5
"""Characters. Shorter parts occur in any text, so they are hidden only where they stood."""


@dataclass(frozen=True)
class ShownTexts:
    """A job's texts, safe to show.

    :param entrypoint: Its command.
    :param metadata: Its metadata.
    :param secrets: The secrets masked in these, which other texts must hide, too.
    :param driver_lines: Lines of the driver's log that repeat a masked command, each with the line to
        show instead.
    """

    entrypoint: str
    metadata: Mapping[str, str]
    secrets: frozenset[str] = frozenset()
    driver_lines: Mapping[str, str] = field(default_factory=dict)

    def line(self, line: str) -> str:
        """Return a line of the log as it may be shown, with a repeated command masked."""
        return self.driver_lines.get(line.strip(), line)


def shown_texts(info: JobInfo, fields: Mapping[str, Any]) -> ShownTexts:
    """Return a job's texts as Airflow would show them.

    :param fields: The masked template fields of the task that submitted the job.
    """
    entrypoint, secrets = _masked(info.entrypoint, fields.get("entrypoint"))
    metadata = {}
    for name, value in info.metadata.items():
        metadata[name], more = _masked(str(value), _masked_value(fields.get("metadata"), name))
        secrets |= more
    return ShownTexts(
        entrypoint,
        metadata,
        frozenset(secrets),
        _driver_lines(info, entrypoint) if entrypoint != info.entrypoint else {},
    )


def without_values(template: Any) -> Any:
    """Return a template with ``***`` in place of its expressions, value by value in mappings."""
    if isinstance(template, Mapping):
        return {name: without_values(value) for name, value in template.items()}
    return _TEMPLATE.sub(MASK, template) if isinstance(template, str) else template


def hidden_parts(masked: str, actual: str) -> list[str] | None:
    """Return what the masks in a text stand for, None if the texts differ elsewhere, too.

    The result is that of ``re.fullmatch`` with ``(.+?)`` for each mask, but without backtracking, so
    the time grows only with the length of the texts.
    """
    first, *middle = _MASKS.split(masked)
    if not actual.startswith(first):
        return None
    if not middle:
        return [] if actual == first else None
    begin = len(first)
    parts = []
    for literal in middle[:-1]:
        end = actual.find(literal, begin + 1)
        if end < 0:
            return None
        parts.append(actual[begin:end])
        begin = end + len(literal)
    end = len(actual) - len(middle[-1])
    if end <= begin or not actual.endswith(middle[-1]):
        return None
    return [*parts, actual[begin:end]]


def _masked_value(metadata: Any, name: str) -> Any:
    if not isinstance(metadata, Mapping):  # a single text, because it was too long or is a template
        is_ours = name.startswith("airflow_")
        return MASK if metadata is not None and not is_ours else None
    return metadata.get(name)


def _masked(actual: str, masked: Any) -> tuple[str, set[str]]:
    """Return a text as it may be shown, and the secrets that it hides."""
    text = masked if isinstance(masked, str) else ""
    if text.startswith(_TRUNCATED):
        return text, set()
    if MASK not in text:
        return actual, set()
    parts = hidden_parts(text.strip(), actual.strip())
    return text, {secret for part in parts or () for secret in _secrets_in(part)}


def _secrets_in(part: str) -> set[str]:
    """Return the secrets in a masked part: the part itself and, since logs come in lines, its lines."""
    lines = {line.strip() for line in part.splitlines()} if "\n" in part else set()
    found = {line for line in lines if len(line) >= _SHORTEST_LINE}
    found |= {part} if len(part.strip()) >= _SHORTEST_SECRET else set()
    return {secret for secret in found if secret.strip("*")}


def _driver_lines(info: JobInfo, shown: str) -> dict[str, str]:
    """Return what to show for each log line in which the driver prints the command that it runs."""
    said = f"Running entrypoint for job {info.job_id}: "
    actual_lines = (said + info.entrypoint).split("\n")
    shown_lines = (said + shown).split("\n")
    is_alike = len(actual_lines) == len(shown_lines)
    others = shown_lines if is_alike else shown_lines[:1]
    pairs = zip_longest(actual_lines, others, fillvalue=MASK)
    told = {line.strip() for line in shown_lines}
    return {line.strip(): other for line, other in pairs if line.strip() not in told}
