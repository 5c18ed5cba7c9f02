"""Adds the job to the events of the assets that its task updates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow.sdk import Asset

from airflow_synapse.handover.job_facts import JobFacts


def tell_assets(context: Any, outlets: Iterable[Any], facts: JobFacts | None) -> None:
    """Add the job's facts to the ``extra`` of the event of each asset among the outlets.

    Values that the user has set stay. An outlet that is not an asset itself, such as an alias, is left
    to the user, because only the user knows which asset it means.
    """
    events = context.get("outlet_events")
    if facts is None or events is None:
        return
    for asset in outlets:
        if isinstance(asset, Asset):
            extra = events[asset].extra
            extra.update({**facts.as_json(), **extra})
