"""Reads what a Kubernetes API server says about missing rights, and writes the Role that gives them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORBIDDEN = re.compile(
    r'cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]+)")?'
)


@dataclass(frozen=True)
class Right:
    """Something that a Role may allow.

    :param verb: ``get``, ``create``, …
    :param resource: For example ``services/proxy``.
    :param group: The API group of the resource, empty for Kubernetes' core.
    """

    verb: str
    resource: str
    group: str = ""


def missing_right(message: str) -> Right | None:
    """Return the right that an answer 403 says is missing, None if it does not say."""
    found = _FORBIDDEN.search(message)
    return Right(found["verb"], found["resource"], found["group"]) if found else None


def role(namespace: str, rights: list[Right], *, name: str = "airflow-synapse") -> str:
    """Return a Role with these rights, as YAML."""
    verbs: dict[tuple[str, str], list[str]] = {}
    for right in rights:
        verbs.setdefault((right.group, right.resource), []).append(right.verb)
    rules = [
        f'- {{apiGroups: ["{group}"], resources: [{resource}], verbs: [{", ".join(which)}]}}'
        for (group, resource), which in verbs.items()
    ]
    head = [
        "apiVersion: rbac.authorization.k8s.io/v1",
        "kind: Role",
        f"metadata: {{name: {name}, namespace: {namespace}}}",
        "rules:",
    ]
    return "\n".join([*head, *rules])
