"""The lines of functions that are sent: wherever they stand, all that is in them stays as it is."""

from __future__ import annotations

import ast
import traceback
from typing import Any

import pytest

from airflow_synapse.exceptions import FunctionSourceError
from airflow_synapse.plugin.function import FunctionSource
from tests.plugin.dag_file import DagFile, load

PLACES = {
    "first line": """
        def work():
            raise ValueError  # here
    """,
    "second line": """
        import os
        def work():
            raise ValueError  # here
    """,
    "second line, indented": """
        if True:
            def work():
                raise ValueError  # here
    """,
    "third line, indented": """
        if True:

            def work():
                raise ValueError  # here
    """,
    "with DAG(…)": """
        import contextlib

        with contextlib.nullcontext() as dag:
            x = 1

            def work():
                y = 1

                raise ValueError  # here

            x = 2
    """,
    "inside a function": """
        def make():
            if True:
                def work():
                    raise ValueError  # here
                return work

        work = make()
    """,
    "inside a class": """
        class Tasks:
            @staticmethod
            def work():
                raise ValueError  # here

        work = Tasks.work
    """,
    "below decorators": """
        def decorator(*_):
            return lambda function: function

        if True:
            @decorator(
                1,
            )

            # between them
            @decorator()
            def work():
                raise ValueError  # here
    """,
    "a signature of many lines": """
        if True:
            def work(
                a: int = 1,
        # at column 0
                b: str = "b",
            ) -> None:
                raise ValueError  # here
    """,
    "async def": """
        if True:
            async def work():
                raise ValueError  # here
    """,
    "indented by tabs": """
        if True:
        \tdef work():
        \t\traise ValueError  # here
    """,
    "with the classes that it uses": """
        if True:
            def work():
                class Error(ValueError):
                    code: int = 1

                raise Error  # here
    """,
    "on one line": """
        if True:
            def work(): raise ValueError  # here
    """,
}


@pytest.mark.parametrize("text", PLACES.values(), ids=PLACES)
def test_traceback_tells_the_line_of_the_file(dag_file: DagFile, text: str) -> None:
    """Wherever a function stands in its file, it runs, and line numbers are those of the file."""
    function = load(FunctionSource.of(dag_file.function(text)))

    with pytest.raises(ValueError) as caught:  # noqa: PT011  # it says nothing
        call(function)

    assert traceback.extract_tb(caught.value.__traceback__)[-1].lineno == dag_file.line_of("# here")


def call(function: Any) -> Any:
    result = function()
    return result.send(None) if hasattr(result, "send") else result


TEXTS = '''
if True:
    def work():
        # a comment
# a comment at column 0
            # and one further in
        query = """
            SELECT *
              FROM t
        """
        config = f"""
top: {1 + 1}
  below: "a\tb"
        """
        continued = "a\\
        b"
        return [query, config, continued, r"""
\\n"""]
'''


def test_texts_stay_as_they_are(dag_file: DagFile) -> None:
    """SQL and YAML of many lines keep each blank, also in an indented function."""
    function = dag_file.function(TEXTS)

    assert load(FunctionSource.of(function))() == function()


def test_unusual_line_ends_in_texts_stay(dag_file: DagFile) -> None:
    """What only some take for the end of a line is none."""
    function = dag_file.function('def work():\n    return """a\x0cb\x1cc\u2028d\x85e"""\n')

    assert load(FunctionSource.of(function))() == function() == "a\x0cb\x1cc\u2028d\x85e"


@pytest.mark.parametrize("text", [*PLACES.values(), TEXTS], ids=[*PLACES, "texts"])
def test_older_python_reads_it(dag_file: DagFile, text: str) -> None:
    """What is sent needs nothing newer than Python 3.9, if the function does not."""
    source = FunctionSource.of(dag_file.function(text)).source

    ast.parse(source, feature_version=(3, 9))


def test_newer_annotations_run_on_an_older_python(dag_file: DagFile) -> None:
    """Annotations are not looked at in the job, of indented functions neither."""
    function = dag_file.function("""
        from pathlib import Path

        if True:
            def work(path: Path | None = None) -> Path | None:
                return path
    """)

    assert load(FunctionSource.of(function)).__annotations__["path"] == "Path | None"


def test_function_that_its_place_makes_valid_is_refused(dag_file: DagFile) -> None:
    """What is no Python without what is around it is told as such, with the line."""
    function = dag_file.function("""
        def make():
            count = 0

            def work():
                nonlocal count  # here
                count += 1

            return work

        work = make()
    """)

    line = dag_file.line_of("# here")
    with pytest.raises(
        FunctionSourceError, match=rf"no binding for nonlocal 'count' found, line {line}\)"
    ):
        FunctionSource.of(function)


@pytest.mark.parametrize("now", ["x = 1\n", "def work(:\n", "# nothing\n", "    x = (\n"])
def test_file_that_has_changed_is_told(dag_file: DagFile, now: str) -> None:
    """A DAG file may be written anew while its function is at work."""
    function = dag_file.function("def work():\n    return 1\n")
    dag_file.path.write_text(now)

    with pytest.raises(FunctionSourceError, match="work"):
        FunctionSource.of(function)
