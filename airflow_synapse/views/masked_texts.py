"""What a job's entrypoint and metadata look like where Airflow masks parts of them. Pure.

Airflow keeps the rendered templates of a task with ``***`` in place of the secrets it knows. Held
against what the job really has, they tell what the secrets are, so that these can be hidden wherever
the job repeats them, in its log above all: Ray's driver prints the command that it runs.
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
"""How Airflow begins what it keeps of a field that is too long. Secrets may be in the rest."""

_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_MASKS = re.compile(r"(?:\*\*\*)+")
_SHORTEST_SECRET = 3
_SHORTEST_LINE = 5
"""Characters; what is shorter is found in any text, and hidden only where it was."""


@dataclass(frozen=True)
class ShownTexts:
    """A job's texts, fit to be shown.

    :param entrypoint: Its command.
    :param metadata: By name.
    :param secrets: What is masked in these, to be hidden in other texts.
    :param driver_lines: Lines of the driver's log that repeat a masked command, and what to show
        instead.
    """

    entrypoint: str
    metadata: Mapping[str, str]
    secrets: frozenset[str] = frozenset()
    driver_lines: Mapping[str, str] = field(default_factory=dict)

    def line(self, line: str) -> str:
        """Return a line of the log, without what it repeats of a masked command."""
        return self.driver_lines.get(line.strip(), line)


def shown_texts(info: JobInfo, fields: Mapping[str, Any]) -> ShownTexts:
    """Return the texts of a job as Airflow would show them.

    :param fields: The template fields of the task that submitted it, masked.
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
    """Return a template with ``***`` for whatever will be filled in, dictionaries by value."""
    if isinstance(template, Mapping):
        return {name: without_values(value) for name, value in template.items()}
    return _TEMPLATE.sub(MASK, template) if isinstance(template, str) else template


def hidden_parts(masked: str, actual: str) -> list[str] | None:
    """Return what the masks in a text stand for, None if the texts differ otherwise, too.

    Finds what ``re.fullmatch`` with ``(.+?)`` for each mask would, in a time that grows with the
    length alone, whatever the texts are.
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
    if not isinstance(metadata, Mapping):  # one text, as it is too long or a template
        is_ours = name.startswith("airflow_")
        return MASK if metadata is not None and not is_ours else None
    return metadata.get(name)


def _masked(actual: str, masked: Any) -> tuple[str, set[str]]:
    """Return a text as it may be shown, and the secrets in it."""
    text = masked if isinstance(masked, str) else ""
    if text.startswith(_TRUNCATED):
        return text, set()
    if MASK not in text:
        return actual, set()
    parts = hidden_parts(text.strip(), actual.strip())
    return text, {secret for part in parts or () for secret in _secrets_in(part)}


def _secrets_in(part: str) -> set[str]:
    """Return what to hide for what a mask stands for: itself, and its lines, as logs come in these."""
    lines = {line.strip() for line in part.splitlines()} if "\n" in part else set()
    found = {line for line in lines if len(line) >= _SHORTEST_LINE}
    found |= {part} if len(part.strip()) >= _SHORTEST_SECRET else set()
    return {secret for secret in found if secret.strip("*")}


def _driver_lines(info: JobInfo, shown: str) -> dict[str, str]:
    """Return what to show for each line in which the driver tells the command that it runs."""
    said = f"Running entrypoint for job {info.job_id}: "
    actual_lines = (said + info.entrypoint).split("\n")
    shown_lines = (said + shown).split("\n")
    is_alike = len(actual_lines) == len(shown_lines)
    others = shown_lines if is_alike else shown_lines[:1]
    pairs = zip_longest(actual_lines, others, fillvalue=MASK)
    told = {line.strip() for line in shown_lines}
    return {line.strip(): other for line, other in pairs if line.strip() not in told}
