"""Reads what an Airflow connection of type ``ray`` says about a cluster. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow_synapse.durations import to_seconds
from airflow_synapse.exceptions import RayAddressError
from airflow_synapse.rayjobs.client.addresses import without_user_info
from airflow_synapse.rayjobs.models import DEFAULT_TOKEN_HEADER, RayCluster

if TYPE_CHECKING:
    from airflow.sdk.definitions.connection import Connection

DEFAULT_PORT = 8265
_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off"}


@dataclass(frozen=True)
class RayConnection:
    """How a cluster is reached, by programs and by people.

    :param cluster: Where its Jobs API is, and the credentials for it.
    :param dashboard_url: Where people reach its dashboard.
    :param storage_path: The root of the storage of all jobs there, a folder or URI.
    """

    cluster: RayCluster
    dashboard_url: str
    storage_path: str | None = None

    def job_page(self, job_id: str) -> str:
        """Return the URL of a job's page in the Ray dashboard."""
        return f"{self.dashboard_url}/#/jobs/{quote(job_id, safe='')}"


def stop_command(job_id: str, *, conn_id: str) -> str:
    """Return the command with which a person stops a job. It works wherever the connection does."""
    return f"airflow ray stop {job_id} --conn-id {conn_id}"


def read_connection(conn: Connection) -> RayConnection:
    """Return what the connection says.

    :raises RayAddressError: if it names no cluster or an extra can't be used. The message repeats no
        value of an extra, because it may be a secret.
    """
    extra = _Extra(conn)
    address = _address(conn, extra)
    cluster = RayCluster(
        address=address,
        token=conn.password or None,
        headers=extra.mapping("headers"),
        cookies=extra.mapping("cookies"),
        verify=extra.verify(),
        request_timeout=extra.seconds("request_timeout", RayCluster.request_timeout),
        client_cert=extra.text("client_cert"),
        client_key=extra.text("client_key"),
        token_file=extra.text("token_file"),
        token_header=extra.text("token_header") or DEFAULT_TOKEN_HEADER,
        stop_command=stop_command("{job_id}", conn_id=conn.conn_id),
    )
    dashboard_url = extra.text("dashboard_url") or address
    # Links are XComs, which everybody may read.
    return RayConnection(
        cluster=cluster,
        dashboard_url=without_user_info(dashboard_url).rstrip("/"),
        storage_path=extra.text("storage_path"),
    )


def _address(conn: Connection, extra: _Extra) -> str:
    """Return the URL made of host, port and schema, or of the ``address`` of astro-provider-ray."""
    host = (conn.host or "").strip() or str(extra.values.get("address") or "").strip()
    if not host:
        raise extra.error("it has neither a host nor an extra 'address'", hint="")
    if "://" in host:
        try:
            parts = urlsplit(host)
            has_port = parts.port is not None or not conn.port
        except ValueError:  # whose text may repeat a password
            raise extra.error("its host is not a valid URL", hint="") from None
        return host if has_port else host.replace(parts.netloc, f"{parts.netloc}:{conn.port}", 1)
    if host.count(":") > 1 and not host.startswith("["):
        host = f"[{host}]"  # a bare IPv6 address
    schema = conn.schema or "http"
    name, slash, prefix = host.partition("/")
    has_port = ":" in name.rpartition("]")[2]
    netloc = name if has_port else f"{name}:{conn.port or DEFAULT_PORT}"
    return f"{schema}://{netloc}{slash}{prefix}"


def _json_of(conn: Connection) -> Any:
    """Return the extra as JSON, None if it isn't JSON. Airflow would log a text that it can't read."""
    try:
        return json.loads(conn.extra) if conn.extra else {}
    except ValueError:
        return None


class _Extra:
    """The extras of a connection, each read as the type it must have."""

    def __init__(self, conn: Connection) -> None:
        self._conn_id = conn.conn_id
        values = _json_of(conn)
        if not isinstance(values, Mapping):
            raise self.error("its extra is not a JSON object")
        self.values: Mapping[str, Any] = values

    def error(self, reason: str, hint: str = "Correct it in the connection.") -> RayAddressError:
        return RayAddressError(address=f"connection {self._conn_id}", reason=reason, hint=hint)

    def mapping(self, key: str) -> dict[str, str]:
        """Return a mapping. It may also be a JSON string, as astro-provider-ray wrote it."""
        value = self.values.get(key) or {}
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                raise self.error(f"its extra {key!r} is not a JSON object") from None
        if not isinstance(value, Mapping):
            raise self.error(f"its extra {key!r} is not a JSON object")
        return {str(name): str(text) for name, text in value.items()}

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        return str(value) if value else None

    def verify(self) -> bool | str:
        value = self.values.get("verify")
        if value is None or value == "":
            return True
        if isinstance(value, (bool, int)):
            return bool(value)
        word = str(value).strip().lower()
        if word in _TRUE | _FALSE:
            return word in _TRUE
        return str(value)

    def seconds(self, key: str, default: float) -> float:
        try:
            return to_seconds(self.values.get(key), key) or default
        except ValueError:  # whose text repeats the value
            raise self.error(
                f"its extra {key!r} must be a duration above 0: seconds or an ISO 8601 duration"
            ) from None
