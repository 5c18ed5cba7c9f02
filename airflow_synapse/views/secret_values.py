"""Hides secrets in what is shown, above all a cluster's credentials. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from airflow_synapse.rayjobs.models import RayCluster

_SHORTEST = 5
"""Characters. Shorter values are words rather than secrets. Airflow uses the same limit."""

_MOST = 40
"""With more secrets, no text is shown at all, because the search would keep the API server busy."""


def hider_of(cluster: RayCluster, others: Iterable[str] = ()) -> Callable[[str], str]:
    """Return a function that replaces secrets in a text with ``***``.

    The secrets are the cluster's token and the values of its headers and cookies.

    :param others: More secrets, whatever their length.
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
        # A regular expression of long secrets would take longer to compile than all of this.
        for secret in secrets:
            text = text.replace(secret, "***")
        return text

    return hide
