"""Keeps secrets out of what is shown, those by which a cluster lets us in first of all. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from airflow_synapse.rayjobs.models import RayCluster

_SHORTEST = 5
"""Characters; shorter values are words rather than secrets. Airflow's own limit, too."""


_MOST = 40
"""With more secrets than these no text is shown, as looking for all would keep the API server busy."""


def hider_of(cluster: RayCluster, others: Iterable[str] = ()) -> Callable[[str], str]:
    """Return what replaces secrets in a text by ``***``.

    These are the cluster's token, header and cookie values.

    :param others: Further ones, whatever their length.
    """
    values = [cluster.token or "", *cluster.headers.values(), *cluster.cookies.values()]
    words = {word for value in values for word in (value.strip(), *value.split())}
    found = {word for word in words if len(word) >= _SHORTEST} | set(others)
    if not found:
        return str
    if len(found) > _MOST:
        return lambda text: "***" if text else text
    secrets = sorted(found, key=len, reverse=True)

    def hide(text: str) -> str:
        # And no regular expression: one of long secrets takes longer to compile than the rest takes.
        for secret in secrets:
            text = text.replace(secret, "***")
        return text

    return hide
