"""What is sent to a cluster to be let in."""

from __future__ import annotations

import ssl
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace

from airflow_synapse.rayjobs.client.credentials.files import stamps_of
from airflow_synapse.rayjobs.client.credentials.headers import (
    OF_A_PROXY,
    cookies_of,
    headers_of,
    token_header_of,
)
from airflow_synapse.rayjobs.client.credentials.tls import tls_context
from airflow_synapse.rayjobs.client.credentials.tokens import expiry_of, read_token_file
from airflow_synapse.rayjobs.models import RayCluster


@dataclass(frozen=True, eq=False)
class Access:
    """What is sent to be let in, as it was last read. Its repr shows no secrets.

    :param headers: Request headers, with the token.
    :param cookies: Request cookies.
    :param token: The header with the token, if Ray takes it, else nothing.
    :param tls: The TLS settings.
    :param tls_version: What the TLS settings were made of.
    :param expires_at: When the token counts as expired, in seconds since the epoch, if it says so.
    """

    headers: Mapping[str, str] = field(repr=False)
    cookies: Mapping[str, str] = field(repr=False)
    token: Mapping[str, str] = field(repr=False)
    tls: ssl.SSLContext | bool
    tls_version: Hashable
    expires_at: float | None

    def is_same_as(self, other: Access) -> bool:
        """Return whether the cluster sees no difference."""
        return (self.headers, self.cookies, self.tls) == (other.headers, other.cookies, other.tls)


def files_of(cluster: RayCluster) -> tuple[str, ...]:
    """Return the paths of all files with credentials."""
    return (*([cluster.token_file] if cluster.token_file else ()), *_tls_files_of(cluster))


def _tls_files_of(cluster: RayCluster) -> tuple[str, ...]:
    bundle = cluster.verify if isinstance(cluster.verify, str) else None
    return tuple(filter(None, (bundle, cluster.client_cert, cluster.client_key)))


def load_access(cluster: RayCluster, before: Access | None, *, margin: float) -> Access:
    """Return what a cluster's credentials amount to now. Reads files, so don't call it on the event loop.

    :param before: What it was before. The same object is returned if nothing has changed.
    :param margin: Seconds before its end at which a token counts as expired, at most.
    :raises RayAddressError: if anything can't be read or sent.
    """
    if cluster.token_file:
        cluster = replace(cluster, token=read_token_file(cluster, cluster.token_file))
    headers, name = headers_of(cluster), token_header_of(cluster)
    tls, version = _tls_of(cluster, before)
    access = Access(
        headers=headers,
        cookies=cookies_of(cluster),
        token={name: headers[name]} if cluster.token and name != OF_A_PROXY else {},
        tls=tls,
        tls_version=version,
        expires_at=_due_time(cluster.token, margin),
    )
    return before if before is not None and before.is_same_as(access) else access


def _tls_of(cluster: RayCluster, before: Access | None) -> tuple[ssl.SSLContext | bool, Hashable]:
    if not cluster.address.strip().lower().startswith("https"):
        return True, None
    version = (cluster.verify, stamps_of(_tls_files_of(cluster)))
    if before is not None and before.tls_version == version:
        return before.tls, version
    return tls_context(cluster), version


def _due_time(token: str | None, margin: float) -> float | None:
    """Return when a token should be replaced: a little before its end, but not at once if it lives shortly."""
    expires_at = expiry_of(token)
    if expires_at is None:
        return None
    return expires_at - min(margin, max(0.0, (expires_at - time.time()) / 5))
