"""Keeps the garbage collections of a triggerer short, however many jobs it watches.

A full collection of Python's garbage collector stops the event loop while it looks at every object: 0.1 s
for what a triggerer has loaded, and 0.2 s more for 5,000 watched jobs. Nearly all of these objects are still
in use, so looking at them again and again is in vain.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_THAW_AFTER = 3600.0
"""Seconds after which one full collection looks at everything again. Only such a collection can find objects
that became garbage after they were frozen, and only those that refer to each other need it."""


_MANY = 200
"""Watched jobs from which it matters what they leave behind."""


class Freezer:
    """Freezes what survives a full collection, so that the next one does not look at it."""

    def __init__(self) -> None:
        self._watched = 0
        self._most = 0
        self._thaw_at = 0.0
        # gc.get_freeze_count() would count one by one, which takes as long as a collection.
        self._is_frozen = False

    def install(self) -> None:
        """Start, and freeze what is loaded now."""
        if self.note_collection not in gc.callbacks:
            gc.callbacks.append(self.note_collection)
        self._freeze()

    def note_collection(self, phase: str, info: dict[str, Any]) -> None:
        """Take the place of a callback in ``gc.callbacks``."""
        if phase != "stop" or info["generation"] != 2:  # the oldest generation
            return
        if self._is_frozen and time.monotonic() >= self._thaw_at:
            self._thaw()
        else:
            self._freeze()

    @contextmanager
    def one_more_job(self) -> Iterator[None]:
        """Count a watched job. Once most of many jobs have ended, what they left behind is looked at."""
        self._watched += 1
        try:
            yield
        finally:
            self._watched -= 1
            if self._most >= _MANY and self._watched < self._most / 2:
                self._thaw()

    def _freeze(self) -> None:
        if not self._is_frozen:
            self._thaw_at = time.monotonic() + _THAW_AFTER
        self._is_frozen = True
        self._most = max(self._most, self._watched)
        gc.freeze()

    def _thaw(self) -> None:
        self._most = 0
        self._is_frozen = False
        gc.unfreeze()


FREEZER = Freezer()
"""The one of this process, as there is only one collector."""
