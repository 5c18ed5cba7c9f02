"""How requirement lines name files of the plugin folder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse.plugin.uploaded_paths import (
    WORKING_DIR,
    uploaded_path,
    uploaded_paths,
    uploaded_url,
)

PATHS = st.lists(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1),
    min_size=1,
).map("/".join)


@given(path=PATHS, after=st.sampled_from(["", " ; python_version > '3'", " --hash=sha256:aa"]))
def test_path_is_read_back_as_it_was(path: str, after: str) -> None:
    """Whatever signs it has, and whatever stands around it."""
    assert list(uploaded_paths(f"{uploaded_path(path)}{after}")) == ["" if path == "." else path]
    assert next(iter(uploaded_paths(f"a[b] @ {uploaded_url(path)}{after}"))) in (path, "")
    assert next(iter(uploaded_paths(f"--find-links {uploaded_path(path)}"))) in (path, "")


@pytest.mark.parametrize(
    ("line", "paths"),
    [
        (f"{WORKING_DIR}/my lib", ["my lib"]),
        (f"{WORKING_DIR}/my lib[a,b] ; extra == 'x'", ["my lib"]),
        (f"{WORKING_DIR}/my lib --hash=sha256:aa", ["my lib"]),
        (f"{WORKING_DIR}/x.whl # mine", ["x.whl"]),
        (f"-c '{WORKING_DIR}/my c.txt'", ["my c.txt"]),
        (f"--find-links {WORKING_DIR}/w  --pre", ["w"]),
        (f"-e {WORKING_DIR}", [""]),
        (WORKING_DIR, [""]),
        (f"# {WORKING_DIR}/x", []),
        ("numpy", []),
    ],
)
def test_lines_that_people_write_are_read(line: str, paths: list[str]) -> None:
    """Ray documents the variable, so a runtime_env may have it in whatever form."""
    assert list(uploaded_paths(line)) == paths
