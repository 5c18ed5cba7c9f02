"""The names of Ray clusters on Kubernetes, and what is named after them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_synapse.exceptions import RayAddressError

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")

DASHBOARD_PORT = 8265
TOKEN_KEY = "auth_token"  # noqa: S105  # the name of a key
"""The key of Ray's token in the Secret that KubeRay makes for a cluster whose ``authOptions.mode`` is token."""


@dataclass(frozen=True)
class ClusterName:
    """The name of a RayCluster.

    :param namespace: Its namespace in Kubernetes.
    :param name: Its name there.
    """

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def of(cls, given: Any) -> ClusterName:
        """Return the name that ``namespace/name`` or the XCom of a task that made the cluster holds.

        :raises RayAddressError: if it is neither.
        """
        if isinstance(given, Mapping):
            given = f"{given.get('namespace')}/{given.get('name')}"
        namespace, slash, name = str(given).strip().partition("/")
        if not slash or not _NAME.fullmatch(namespace) or not _NAME.fullmatch(name):
            raise RayAddressError(
                address=f"ray_cluster {given!r:.100}",
                reason="it does not name a RayCluster",
                hint='Use "namespace/name", in lower case as Kubernetes has it.',
            )
        return cls(namespace, name)

    @property
    def head_service(self) -> str:
        """The name of the service of its head."""
        return f"{self.name}-head-svc"

    @property
    def secret(self) -> str:
        """The name of the Secret with Ray's token."""
        return self.name
