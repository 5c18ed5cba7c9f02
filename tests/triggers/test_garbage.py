"""Tests that garbage collections stay short while many jobs are watched."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from airflow_synapse.triggers import garbage
from airflow_synapse.triggers.garbage import Freezer


@pytest.fixture
def freezer() -> Iterator[Freezer]:
    gc.unfreeze()
    freezer = Freezer()
    freezer.install()
    yield freezer
    gc.callbacks.remove(freezer.note_collection)
    gc.unfreeze()


class _Knot:
    """An object that only a garbage collection can free."""

    def __init__(self) -> None:
        self.itself = self


def test_second_full_collection_does_not_look_at_what_survived_the_first(freezer: Freezer) -> None:
    """What is still in use after one full collection costs the next one nothing."""
    kept = [[number] for number in range(1000)]

    gc.collect()

    assert not any(item is kept[0] for item in gc.get_objects())


def test_garbage_is_freed_before_the_rest_is_frozen(freezer: Freezer) -> None:
    """A full collection frees what is garbage at that time."""
    knot = weakref.ref(_Knot())

    gc.collect()

    assert knot() is None


def test_what_many_jobs_left_is_freed_once_most_have_ended(freezer: Freezer) -> None:
    """Objects that became garbage after they were frozen do not stay for ever."""
    with ExitStack() as jobs:
        for _ in range(garbage._MANY):
            jobs.enter_context(freezer.one_more_job())
        knot = _Knot()
        gone = weakref.ref(knot)
        gc.collect()
        del knot
        gc.collect()
        assert gone() is not None

    gc.collect()

    assert gone() is None


def test_frozen_garbage_is_freed_after_a_while(
    freezer: Freezer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A triggerer that always watches many jobs looks at everything now and then."""
    knot = _Knot()
    gone = weakref.ref(knot)
    gc.collect()
    del knot
    monkeypatch.setattr(freezer, "_thaw_at", 0.0)

    gc.collect()  # thaws
    gc.collect()

    assert gone() is None


def test_few_jobs_that_end_thaw_nothing(freezer: Freezer) -> None:
    """What a triggerer has loaded stays frozen as jobs come and go."""
    gc.collect()
    with freezer.one_more_job():
        gc.collect()

    assert gc.get_freeze_count()
