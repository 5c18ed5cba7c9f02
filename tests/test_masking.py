"""No text that leaves us has credentials in it, and none that reaches a terminal has codes for it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse.masking import for_terminal, without_controls, without_secrets

SECRET = "s3cretTail"


@pytest.mark.parametrize(
    "text",
    [
        f"https://me:{SECRET}@host/simple",
        f"https://{SECRET}@host",
        f"git+https://me:{SECRET}@host/org/repo@v1",
        f"pip install --index-url=https://me:{SECRET}@host/simple torch",
        f"'http://me:s3cret/{SECRET}@host:8265' can't be used",
        f"http://me:s3cret@{SECRET}@host",
        f"http://me:s3cret#{SECRET}@host/x",
        f"https:/me:{SECRET}@host: there is no such file",
        f"https://bucket.s3.amazonaws.com/p.zip?X-Amz-Credential=AKIA&X-Amz-Signature={SECRET}",
        f"https://account.blob.core.windows.net/c/p.zip?sv=2024&sig={SECRET} is no zip",
        f"https://host/page#access_token={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"basic {SECRET}==",
        f"redis://:{SECRET}@host:6379/0",
    ],
)
def test_credentials_are_masked(text: str) -> None:
    """Wherever they stand, and whatever is in a password."""
    told = without_secrets(text)

    assert SECRET not in told
    assert "s3cret" not in told
    assert "***" in told


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8265/#/jobs/dag.task.1.f00@x",
        "http://[::1]:8265 is unreachable",
        "see https://docs.ray.io/en/latest/a@b.html",
        "s3://bucket/plugin.zip",
        "git+https://github.com/org/repo@v1.2#egg=repo",
        "gcs://_ray_pkg_0123.zip",
        "the basic idea of the bearer",
        "me@example.com: a/b",
        "",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    """An at sign or a number sign alone is no secret."""
    assert without_secrets(text) == text


@given(st.text(st.characters(exclude_characters=" \"'<>\n\t?#"), min_size=1))
def test_any_password_in_a_url_is_masked(password: str) -> None:
    """Masking again changes nothing."""
    told = without_secrets(f"https://user:{password}x@host/simple")

    assert told.endswith("@host/simple")
    assert without_secrets(told) == told


def test_long_text_is_masked_quickly() -> None:
    """A message of megabytes does not keep the event loop."""
    for text in ("a" * 3_000_000, "://" * 1_000_000, "x:/" * 1_000_000, "bearer " * 400_000):
        without_secrets(text)


@given(st.text(st.sampled_from("\x1b[]P;:?!0123mAJ\\\x07\x08\x9b\x00\r\n\tä a")))
def test_terminal_gets_no_controls(text: str) -> None:
    """Whatever the order of their parts. A log's colours may stay."""
    assert not set(without_controls(text)) & set("\x1b\x07\x08\x9b\x00\r")
    rest = re.sub(r"\x1b\[[0-9;:]*m", "", for_terminal(text))
    assert not set(rest) & set("\x1b\x07\x08\x9b\x00")


def test_text_keeps_its_lines_and_letters() -> None:
    """Only controls are taken out."""
    assert without_controls("\x1b[1mbold\x1b[0m\n\tä 🐍") == "bold\n\tä 🐍"
    assert for_terminal("\x1b[1mbold\x1b[0m 10%\r20%") == "\x1b[1mbold\x1b[0m 10%\r20%"
