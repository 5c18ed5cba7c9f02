"""The volumes of a pod, as folders of this machine."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local_services.kubernetes.async_api import Seen
from local_services.kubernetes.kubelet.environment import contents, field
from local_services.kubernetes.kubelet.events import PodEvents
from local_services.kubernetes.kubelet.node import Node
from local_services.kubernetes.kubelet.sandbox import Sandbox
from local_services.kubernetes.network import SHARED_MEMORY

_PAUSE = 1.0
_KINDS = {"configMap": "ConfigMap", "secret": "Secret"}
_TOKEN_LIFE = 3600


class Volumes:
    """The folders of one pod's volumes, by name."""

    def __init__(self, folder: Path, *, node: Node, sandbox: Sandbox, events: PodEvents) -> None:
        self._folder = folder
        self._node = node
        self._sandbox = sandbox
        self._events = events
        self._shared: list[Path] = []
        self._paths: dict[str, Path] = {}

    async def fill(self, pod: Seen) -> None:
        """Make all folders, and wait for what is to be in them."""
        for volume in pod["spec"].get("volumes") or []:
            path = self._paths[volume["name"]] = self._place(volume)
            path.mkdir(parents=True, exist_ok=True)
            for source in _sources(volume):
                await self._project(path, source, pod)

    def mounts(self, container: Seen) -> Iterator[tuple[Path, str]]:
        """Yield each mount of a container: what, and where it sees it."""
        for mount in container.get("volumeMounts") or []:
            path = self._paths[mount["name"]]
            if mount.get("subPath"):
                path /= mount["subPath"]
                if not path.exists():
                    path.mkdir(parents=True)
            yield path, mount["mountPath"]

    def remove(self) -> None:
        """Delete them with all they hold."""
        for path in (self._folder, *self._shared):
            shutil.rmtree(path, ignore_errors=True)

    def _place(self, volume: Seen) -> Path:
        if "hostPath" in volume:
            return Path(str(volume["hostPath"]["path"]))
        if (volume.get("emptyDir") or {}).get("medium") == "Memory":
            shared = SHARED_MEMORY / f"{self._sandbox.name}-{volume['name']}"
            self._shared.append(shared)
            return shared
        return self._folder / volume["name"]

    async def _project(self, folder: Path, source: Seen, pod: Seen) -> None:
        if "serviceAccountToken" in source:
            wanted = source["serviceAccountToken"]
            _write(folder / wanted["path"], (await self._token(wanted, pod)).encode())
        for key, kind in _KINDS.items():
            if key in source:
                await self._copy(folder, source[key], kind, pod)
        for item in (source.get("downwardAPI") or {}).get("items") or []:
            if "fieldRef" in item:
                value = field(
                    pod,
                    item["fieldRef"]["fieldPath"],
                    address=self._sandbox.address,
                    node_address=self._node.network.gateway,
                )
                _write(folder / item["path"], value.encode())

    async def _token(self, wanted: Seen, pod: Seen) -> str:
        metadata, account = pod["metadata"], pod["spec"].get("serviceAccountName", "default")
        spec: dict[str, Any] = {
            "expirationSeconds": wanted.get("expirationSeconds", _TOKEN_LIFE),
            "boundObjectRef": {
                "kind": "Pod",
                "apiVersion": "v1",
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
        }
        if wanted.get("audience"):
            spec["audiences"] = [wanted["audience"]]
        answer = await self._node.api.call(
            "POST",
            f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
        )
        assert answer is not None
        return str(answer["status"]["token"])

    async def _copy(self, folder: Path, wanted: Seen, kind: str, pod: Seen) -> None:
        name = wanted.get("name") or wanted["secretName"]
        namespace = pod["metadata"]["namespace"]
        path = f"/api/v1/namespaces/{namespace}/{kind.lower()}s/{name}"
        while not (found := await self._node.api.call("GET", path, fine=(404,))):
            if wanted.get("optional"):
                return
            # A namespace is seconds old when its first pod comes, and its CA bundle younger.
            what = f'{kind.lower()} "{name}" not found'
            await self._events.warning(
                "FailedMount", f"MountVolume.SetUp failed for volume : {what}"
            )
            await asyncio.sleep(_PAUSE)
        places = {item["key"]: item["path"] for item in wanted.get("items") or []}
        for key, value in contents(found, kind).items():
            if not places or key in places:
                _write(folder / places.get(key, key), value)


def _sources(volume: Seen) -> list[Seen]:
    if "projected" in volume:
        return list(volume["projected"].get("sources") or [])
    return [{key: volume[key]} for key in (*_KINDS, "downwardAPI") if key in volume]


def _write(path: Path, text: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
