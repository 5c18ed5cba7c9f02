"""Keeps the values by which a cluster lets us in out of what is shown. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from airflow_synapse.rayjobs.models import RayCluster

_SHORTEST = 5
"""Characters; shorter values are words rather than secrets. Airflow's own limit, too."""


def hider_of(cluster: RayCluster) -> Callable[[str], str]:
    """Return what replaces token, header and cookie values of a cluster in a text by ``***``."""
    values = [cluster.token or "", *cluster.headers.values(), *cluster.cookies.values()]
    words = {word for value in values for word in (value.strip(), *value.split())}
    secrets = sorted((word for word in words if len(word) >= _SHORTEST), key=len, reverse=True)
    if not secrets:
        return str
    pattern = re.compile("|".join(re.escape(secret) for secret in secrets))
    return lambda text: pattern.sub("***", text)
