"""How to verify a cluster's server."""

from __future__ import annotations

import ssl
from pathlib import Path

from airflow_synapse.exceptions import RayAddressError
from airflow_synapse.rayjobs.models import RayCluster


def tls_context(cluster: RayCluster) -> ssl.SSLContext:
    """Return how to verify the server. Reads certificate files, so keep it off the event loop."""
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
        raise RayAddressError(
            address=cluster.dashboard_url,
            reason=f"the CA bundle {cluster.verify} can't be read ({type(exc).__name__})",
        ) from exc
