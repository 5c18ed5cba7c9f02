"""Finds the way to the agents on a cluster's nodes through the API server: each node is a pod."""

from __future__ import annotations

import asyncio
from urllib.parse import quote, urlsplit

from yarl import URL

from airflow_synapse.exceptions import AirflowSynapseError
from airflow_synapse.rayjobs.client.answers import AgentUnusableError
from airflow_synapse.rayjobs.client.budget import Lane
from airflow_synapse.rayjobs.client.session import Session
from airflow_synapse.rayjobs.models import KubernetesPlace

_LOOKED_AT_FOR = 5.0
"""Seconds for which a list of pods is good if a pod is not in it."""


class Pods:
    """The pods of one Ray cluster, by their addresses.

    :param place: The cluster.
    """

    def __init__(self, place: KubernetesPlace) -> None:
        self._place = place
        self._names: dict[str, str] = {}
        self._next_look = 0.0
        self._lock = asyncio.Lock()

    async def url_of_agent(self, session: Session, address: str, path: str) -> URL:
        """Return where an agent's file is.

        :param address: The agent's address inside the Kubernetes cluster.
        :param path: The path of the file.
        :raises AgentUnusableError: if no pod has this address, pods can't be listed, or it is no address.
        """
        try:
            parts = urlsplit(address)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise AgentUnusableError("its address can't be used") from None
        if host not in self._names:
            await self._look(session)
        if host not in self._names or port is None:
            raise AgentUnusableError("no pod of the Ray cluster has this address")
        pod = f"{quote(self._names[host], safe='')}:{port}"
        return URL(f"{self._place.url}/pods/{pod}/proxy{path}", encoded=True)

    async def _look(self, session: Session) -> None:
        loop = asyncio.get_running_loop()
        async with self._lock:
            if loop.time() < self._next_look:
                return
            self._next_look = loop.time() + _LOOKED_AT_FOR
            label = quote(f"ray.io/cluster={self._place.name}", safe="")
            try:
                found = await session.get_json(
                    f"/pods?labelSelector={label}",
                    lane=Lane.LOG,
                    base=self._place.url,
                    is_extra=True,
                )
                items = [item for item in found["items"] if item["status"].get("podIP")]
                self._names = {
                    str(item["status"]["podIP"]): str(item["metadata"]["name"]) for item in items
                }
            except (AirflowSynapseError, KeyError, TypeError, AttributeError) as exc:
                raise AgentUnusableError(f"its pods can't be listed: {exc}") from exc
