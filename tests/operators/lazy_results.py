"""The results of a mapped task, as a task after it gets them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class LazyResults(Sequence[Any]):
    """As Airflow's LazyXComSequence: a sequence that is no list, and makes each item when it is asked for."""

    def __init__(self, *results: Any) -> None:
        self.results = results or (1, 2)

    def __getitem__(self, index: Any) -> Any:
        result = self.results[index]
        return dict(result) if isinstance(result, dict) else result

    def __len__(self) -> int:
        return len(self.results)
