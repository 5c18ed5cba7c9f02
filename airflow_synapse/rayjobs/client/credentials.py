"""The headers, cookies and certificates that authenticate us to a cluster."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_synapse.exceptions import RayAddressError
from airflow_synapse.rayjobs.models import RayCluster

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_A_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def headers_of(cluster: RayCluster) -> dict[str, str]:
    """Return the request headers, including the token.

    :raises RayAddressError: if a header can't be sent. The error repeats no values.
    """
    headers = dict(cluster.headers)
    if cluster.token:
        headers = {k: v for k, v in headers.items() if str(k).lower() != "authorization"}
        # A token that comes from a file often ends with a newline.
        headers["Authorization"] = f"Bearer {cluster.token.strip()}"
    return _checked(cluster, "header", headers)


def cookies_of(cluster: RayCluster) -> dict[str, str]:
    """Return the request cookies.

    :raises RayAddressError: if a cookie can't be sent. The error repeats no values.
    """
    return _checked(cluster, "cookie", cluster.cookies)


def _checked(cluster: RayCluster, kind: str, fields: Mapping[Any, Any]) -> dict[str, str]:
    for name, value in fields.items():
        what = ""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            what = f"this is not a valid {kind} name"
        elif not isinstance(value, str):
            what = f"its value is a {type(value).__name__}, not a string"
        elif _NOT_IN_A_VALUE.search(value):
            what = "its value contains a line break or another control character"
        if what:
            raise RayAddressError(
                address=cluster.address,
                reason=f"the {kind} {name!r} can't be sent: {what}",
                hint="Correct the token, headers and cookies.",
            )
    return dict(fields)


def tls_context(cluster: RayCluster) -> ssl.SSLContext:
    """Return the TLS settings. This reads certificate files, so don't call it on the event loop.

    :raises RayAddressError: if a file can't be read.
    """
    context = _verifying_context(cluster)
    if cluster.client_cert:
        try:
            # Without a password, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(cluster.client_cert, cluster.client_key, password="")
        except (OSError, ssl.SSLError) as exc:
            files = " and its key ".join(filter(None, (cluster.client_cert, cluster.client_key)))
            raise _unreadable(cluster, f"the client certificate {files}", exc) from exc
    return context


def _verifying_context(cluster: RayCluster) -> ssl.SSLContext:
    if cluster.verify is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if cluster.verify is True:
        return ssl.create_default_context()
    bundle = Path(cluster.verify)
    try:
        if bundle.is_dir():
            return ssl.create_default_context(capath=str(bundle))
        return ssl.create_default_context(cafile=str(bundle))
    except (OSError, ssl.SSLError) as exc:
        raise _unreadable(cluster, f"the CA bundle {cluster.verify}", exc) from exc


def _unreadable(cluster: RayCluster, what: str, exc: Exception) -> RayAddressError:
    return RayAddressError(
        address=cluster.address,
        reason=f"{what} can't be read ({type(exc).__name__})",
        hint="Give the path of a PEM file that exists on this machine.",
    )
