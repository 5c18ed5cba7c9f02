"""The resources that a job's entrypoint reserves, in Ray's terms. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from airflow_synapse.exceptions import RayJobSubmissionError


@dataclass(frozen=True)
class Resources:
    """What the entrypoint of a job reserves; its tasks and actors ask for themselves.

    :param num_cpus: CPU cores.
    :param num_gpus: GPUs.
    :param memory: Bytes.
    :param resources: Custom resources by name.
    :param label_selector: Labels a node must have, in Ray's syntax of conditions.
    """

    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: int | None = None
    resources: Mapping[str, float] | None = field(default=None)
    label_selector: Mapping[str, str] | None = field(default=None)

    def to_request(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Return Ray's ``entrypoint_*`` arguments.

        :param overrides: ``entrypoint_*`` arguments of one submission.
        :raises RayJobSubmissionError: if a value is invalid or given twice.
        """
        request = {
            f"entrypoint_{entry.name}": getattr(self, entry.name)
            for entry in fields(self)
            if getattr(self, entry.name) is not None
        }
        for name, value in overrides.items():
            if name in request and value is not None:
                short = name.removeprefix("entrypoint_")
                raise RayJobSubmissionError(
                    reason=f"both {short} and {name} were given", hint="Give only one of them."
                )
        request.update({name: value for name, value in overrides.items() if value is not None})
        for name, value in request.items():
            _check(name, value)
        if "entrypoint_memory" in request:
            request["entrypoint_memory"] = int(request["entrypoint_memory"])
        return request


RESOURCE_NAMES = frozenset(entry.name for entry in fields(Resources))
"""What an executor and a submission call the resources."""

REQUEST_NAMES = frozenset(f"entrypoint_{name}" for name in RESOURCE_NAMES)
"""What Ray calls them."""


def _check(name: str, value: Any) -> None:
    if name == "entrypoint_resources":
        _check_mapping(name, value)
        for key, amount in value.items():
            _check_amount(f"{name}[{key!r}]", amount)
    elif name == "entrypoint_label_selector":
        _check_mapping(name, value)
        for key, condition in value.items():
            if not isinstance(condition, str):
                raise _refusal(f"{name}[{key!r}]", condition, "must be a string")
    else:
        _check_amount(name, value)
        if name == "entrypoint_memory" and value != int(value):
            raise _refusal(name, value, "must be a whole number of bytes")


def _check_mapping(name: str, value: Any) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _refusal(name, value, "must be a mapping with strings as keys")


def _check_amount(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _refusal(name, value, "must be a number")
    if not math.isfinite(value) or value < 0:
        raise _refusal(name, value, "must be 0 or more")


def _refusal(name: str, value: Any, rule: str) -> RayJobSubmissionError:
    short = name.removeprefix("entrypoint_")
    return RayJobSubmissionError(reason=f"{short} is {value!r}, but it {rule}")
