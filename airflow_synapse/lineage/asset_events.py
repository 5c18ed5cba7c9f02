"""The events of a task's assets tell of the job that made them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow.sdk import Asset

from airflow_synapse.handover.job_facts import JobFacts


def tell_assets(context: Any, outlets: Iterable[Any], facts: JobFacts | None) -> None:
    """Add the job's facts to the extra of the event of each asset among the outlets.

    What a user has put there stays. An asset that is not named itself (an alias, a reference) is left
    to the user, who alone knows it.
    """
    events = context.get("outlet_events")
    if facts is None or events is None:
        return
    for asset in outlets:
        if isinstance(asset, Asset):
            extra = events[asset].extra
            extra.update({**facts.as_json(), **extra})
