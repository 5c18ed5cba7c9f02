"""Functions as source that runs elsewhere."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_synapse.exceptions import FunctionSourceError
from airflow_synapse.plugin.function import FunctionSource
from tests.plugin.dag_file import DagFile, load

LIMIT = 3


def decorator(*_: Any, **__: Any) -> Callable[[Any], Any]:
    return lambda function: function


def test_function_runs_without_its_module() -> None:
    """Imports, inner functions, comprehensions, classes: all that is inside goes along."""

    def measure(values: list[float], *, scale: int = 2) -> dict[str, float]:
        import math
        from pathlib import Path as SomePath

        class Summary:
            total = 0.0

            def add(self, value: float) -> None:
                self.total += value

        def doubled(value: float) -> float:
            return value * scale

        summary = Summary()
        for value in values:
            summary.add(doubled(value))
        return {"total": math.floor(summary.total), "parts": len(SomePath("a/b").parts)}

    assert load(FunctionSource.of(measure))([1.5, 2.5]) == {"total": 8, "parts": 2}


def test_decorators_stay_behind() -> None:
    """Those of the DAG file are not there in the job, however they are written."""

    @decorator(
        "over",
        lines=3,
    )
    @decorator()
    def work() -> int:
        return 1

    function = FunctionSource.of(work)

    assert "decorator" not in function.source
    assert load(function)() == 1


def test_annotations_need_not_be_there() -> None:
    """They are for people; what they name is not needed in the job."""

    def work(path: Path, frame: Path | None = None) -> Callable[[Path], Any]:  # type: ignore[empty-body]
        return None  # type: ignore[return-value]

    assert load(FunctionSource.of(work))("x") is None


def twice(function: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> int:
        return 2 * function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize("wrap", [twice, functools.cache, staticmethod])
def test_wrapping_decorator_is_refused(wrap: Any) -> None:
    """It would be lost without a word, and the job would return something else."""

    @decorator()
    @wrap
    def work() -> int:
        return 1

    with pytest.raises(
        FunctionSourceError, match="'work' is wrapped by another decorator, which would be lost"
    ):
        FunctionSource.of(work)


def test_decorator_that_hides_itself_is_refused() -> None:
    """Without functools.wraps, what is sent is the wrapper, which has not what it wraps."""

    def plain(function: Callable[[], int]) -> Callable[[], int]:
        def wrapper() -> int:
            return 2 * function()

        wrapper.__name__ = function.__name__
        return wrapper

    @plain
    def work() -> int:
        return 1

    with pytest.raises(FunctionSourceError, match="uses 'function'"):
        FunctionSource.of(work)


def test_renamed_function_is_found_in_the_job() -> None:
    """It goes by the name that its source has."""

    def work() -> int:
        return 1

    work.__name__ = "another"

    assert load(FunctionSource.of(work))() == 1


WITH_CLASS = """
from pathlib import Path

def work(path: Path) -> int:
    class Point:
        x: int = 1

    return Point.x
"""


def test_annotations_are_checked_where_they_are_evaluated(dag_file: DagFile) -> None:
    """With a class in it, a function keeps its annotations, and all that is in them is needed."""
    function = dag_file.function(WITH_CLASS)

    with pytest.raises(FunctionSourceError, match="uses 'Path' from its module"):
        FunctionSource.of(function)


def test_postponed_annotations_stay_postponed(dag_file: DagFile) -> None:
    """A file with the future import gives it to its functions, also to those with classes."""
    function = dag_file.function(f"from __future__ import annotations{WITH_CLASS}")

    assert load(FunctionSource.of(function))(None) == 1


def test_classes_with_annotated_fields_run(dag_file: DagFile) -> None:
    """A function may make dataclasses, whose annotations stay what they are."""
    function = dag_file.function("""
        def work():
            from dataclasses import dataclass, fields
            from datetime import date

            @dataclass
            class Point:
                x: int
                when: date

            return [field.type for field in fields(Point)] == [int, date]
    """)

    assert load(FunctionSource.of(function))() is True


def test_traceback_tells_the_line_of_the_dag_file() -> None:
    """Line numbers are those of the file that people look at."""

    @decorator()
    def work() -> None:
        raise ValueError

    line = work.__code__.co_firstlineno + 2
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # it says nothing
        load(FunctionSource.of(work))()

    assert traceback.extract_tb(caught.value.__traceback__)[-1].lineno == line


def test_what_the_module_has_is_refused() -> None:
    """A global, a closure or an import at the top is missed in the job, so it is told before."""
    inner = 5

    def work() -> Any:
        return functools.partial(print, LIMIT, inner)

    with pytest.raises(FunctionSourceError, match="uses 'LIMIT', 'functools', 'inner'") as caught:
        FunctionSource.of(work)
    assert "import what it needs inside" in str(caught.value)


def test_default_from_the_module_is_refused() -> None:
    """Defaults are evaluated in the job, too."""

    def work(limit: int = LIMIT) -> int:
        return limit

    with pytest.raises(FunctionSourceError, match="'LIMIT'"):
        FunctionSource.of(work)


def test_recursion_and_own_globals_are_fine() -> None:
    """What the function itself defines is there."""

    def work(depth: int) -> int:
        global seen  # noqa: PLW0603
        seen = depth  # type: ignore[name-defined]
        return work(depth - 1) if depth else seen  # type: ignore[name-defined]

    with pytest.raises(FunctionSourceError):
        FunctionSource.of(lambda: None)
    assert load(FunctionSource.of(work))(3) == 0


def generator() -> Any:
    yield 1


async def stream() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (generator, "is a generator"),
        (stream, "is a generator"),
        (lambda: 1, "not a function defined with def"),
        (len, "not a function"),
        (functools.partial(decorator), "not a function"),
        (eval("lambda: 1"), "not a function"),
    ],
)
def test_what_is_no_plain_function_is_refused(function: Any, why: str) -> None:
    """The error says what to do instead."""
    with pytest.raises(FunctionSourceError, match=why):
        FunctionSource.of(function)


def test_function_without_source_is_refused() -> None:
    """What was made by exec has no file to read."""
    names: dict[str, Any] = {}
    exec("def made(): return 1", names)

    with pytest.raises(FunctionSourceError, match="no source that can be read"):
        FunctionSource.of(names["made"])
