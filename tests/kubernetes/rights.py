"""Who may do what on the rig."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from local_services.kubernetes.rig import NAMESPACE, KubernetesRig

RBAC = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"
VERBS = ["get", "create", "update", "delete"]
"""What RBAC calls GET, POST, PUT and DELETE."""


Connect = Callable[[str], None]
"""Lets ``kubernetes_default`` lead to the rig, as this ServiceAccount."""

_PAGE = Path(__file__).parents[2] / "docs" / "kubernetes.md"


def documented_role() -> dict[str, Any]:
    """Return the Role that the page tells people to make."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", _PAGE.read_text(), re.MULTILINE | re.DOTALL)
    documents = [document for block in blocks for document in yaml.safe_load_all(block)]
    return next(doc for doc in documents if isinstance(doc, dict) and doc.get("kind") == "Role")


def grant(rig: KubernetesRig, account: str, rights: Mapping[str, Sequence[str]]) -> None:
    """Let a ServiceAccount do these verbs to each of these resources, named like ``rayclusters.ray.io``."""
    rules = [_rule(resource, verbs) for resource, verbs in rights.items()]
    apply_role(rig, account, {"metadata": {"name": account}, "rules": rules})


def apply_role(rig: KubernetesRig, account: str, role: Mapping[str, Any]) -> None:
    """Make a Role, instead of what it was, and give it to a ServiceAccount."""
    name = role["metadata"]["name"]
    for path in (f"{RBAC}/roles/{name}", f"{RBAC}/rolebindings/{name}"):
        if rig.api.find(path):
            rig.api.delete(path)
    rig.api.create(f"{RBAC}/roles", role)
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}],
    }
    rig.api.create(f"{RBAC}/rolebindings", binding)


def _rule(resource: str, verbs: Sequence[str]) -> dict[str, Any]:
    # services/proxy is a resource of the core; rayclusters.ray.io is one of the group ray.io.
    name, _, group = resource.partition(".")
    return {"apiGroups": [group], "resources": [name], "verbs": list(verbs)}
