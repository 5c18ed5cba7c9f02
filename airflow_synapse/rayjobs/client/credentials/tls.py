"""The TLS settings of a cluster, from certificate files that may be renewed at any time."""

from __future__ import annotations

import ssl
from pathlib import Path

from airflow_synapse.exceptions import RayAddressError
from airflow_synapse.rayjobs.models import RayCluster


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
