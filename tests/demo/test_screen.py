"""What the demo shows can be read and copied."""

from __future__ import annotations

import pytest

from demo.screen import Screen


@pytest.mark.parametrize("columns", ["20", "200"])
def test_path_is_shown_whole(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path is on one line, however narrow the terminal is."""
    monkeypatch.setenv("COLUMNS", columns)
    path = "/home/somebody/airflow-synapse/demo_output/digits pipeline/confusion.png"

    screen = Screen()
    screen.table("Results", {"plot": path})
    screen.say(f"All is kept in {path}")

    assert capsys.readouterr().out.count(path) == 2
