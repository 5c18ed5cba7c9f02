"""The environment and the command of a container, as its pod asks for them."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_services.kubernetes.async_api import Api, Seen

_UNITS = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}


class ConfigError(LookupError):
    """A container names what is not there. The words are a kubelet's."""


def expand(text: str, env: Mapping[str, str]) -> str:
    """Return ``text`` with each ``$(NAME)`` that is known replaced; ``$$(`` is ``$(``."""

    def value(match: re.Match[str]) -> str:
        if match[0].startswith("$$"):
            return match[0][1:]
        return env.get(match[1], match[0])

    return re.sub(r"\$?\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)", value, text)


def command(container: Seen, env: Mapping[str, str]) -> list[str]:
    """Return the container's program and arguments."""
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    return [expand(word, env) for word in words]


def field(pod: Seen, path: str, *, address: str, node_address: str) -> str:
    """Return what a ``fieldRef`` asks for; empty if the pod has no such field."""
    one_of = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if one_of:
        return str((pod["metadata"].get(one_of[1]) or {}).get(one_of[2], ""))
    if path in ("status.podIP", "status.podIPs"):
        return address
    if path in ("status.hostIP", "status.hostIPs"):
        return node_address
    value: Any = pod
    for part in path.split("."):
        value = value.get(part, {}) if isinstance(value, dict) else {}
    return value if isinstance(value, str) else ""


def resource(container: Seen, reference: Seen) -> str:
    """Return what a ``resourceFieldRef`` asks for, in units of its divisor, rounded up."""
    where, what = reference["resource"].split(".", 1)
    value = (container.get("resources", {}).get(where) or {}).get(what, "0")
    # Kubernetes writes a divisor of "0" where none is given.
    divisor = reference.get("divisor") or "1"
    return str(math.ceil(_number(value) / (_number(divisor) or 1)))


def _number(quantity: str) -> float:
    match = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(quantity))
    if match is None:
        raise ConfigError(f"invalid quantity {quantity!r}")
    return float(match[1]) * _UNITS[match[2]]


@dataclass(frozen=True)
class Surroundings:
    """What the variables of a pod's containers can refer to."""

    pod: Seen
    api: Api
    address: str
    node_address: str

    async def environment(self, container: Seen) -> dict[str, str]:
        """Return the variables that a container asks for.

        :raises ConfigError: if a Secret, a ConfigMap or a key of one is not there.
        """
        given: dict[str, str] = {}
        for source in container.get("envFrom") or []:
            given |= await self._all_of(source)
        for variable in container.get("env") or []:
            value = await self._value(variable, container, given)
            if value is not None:
                given[variable["name"]] = value
        return given

    async def _all_of(self, source: Seen) -> dict[str, str]:
        kind = "Secret" if "secretRef" in source else "ConfigMap"
        found = await self._data(kind, source["secretRef" if kind == "Secret" else "configMapRef"])
        return {source.get("prefix", "") + key: value for key, value in found.items()}

    async def _value(self, variable: Seen, container: Seen, given: Mapping[str, str]) -> str | None:
        source = variable.get("valueFrom")
        if not source:
            return expand(variable.get("value", ""), given)
        if "fieldRef" in source:
            path = source["fieldRef"]["fieldPath"]
            return field(self.pod, path, address=self.address, node_address=self.node_address)
        if "resourceFieldRef" in source:
            return resource(container, source["resourceFieldRef"])
        return await self._key(source)

    async def _key(self, source: Seen) -> str | None:
        kind = "Secret" if "secretKeyRef" in source else "ConfigMap"
        reference = source["secretKeyRef" if kind == "Secret" else "configMapKeyRef"]
        found = await self._data(kind, reference)
        if reference["key"] in found:
            return found[reference["key"]]
        if reference.get("optional"):
            return None
        where = f"{self.pod['metadata']['namespace']}/{reference['name']}"
        raise ConfigError(f"couldn't find key {reference['key']} in {kind} {where}")

    async def _data(self, kind: str, reference: Seen) -> dict[str, str]:
        name, namespace = reference["name"], self.pod["metadata"]["namespace"]
        path = f"/api/v1/namespaces/{namespace}/{kind.lower()}s/{name}"
        found = await self.api.call("GET", path, fine=(404,))
        if found is None:
            if reference.get("optional"):
                return {}
            raise ConfigError(f'{kind.lower()} "{name}" not found')
        return {key: value.decode() for key, value in contents(found, kind).items()}


def contents(found: Seen, kind: str) -> dict[str, bytes]:
    """Return the values of a Secret or ConfigMap."""
    data = found.get("data") or {}
    if kind == "Secret":
        return {key: base64.b64decode(value) for key, value in data.items()}
    return {key: value.encode() for key, value in data.items()}
