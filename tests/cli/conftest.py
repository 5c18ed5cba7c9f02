"""Airflow's own parser with our commands, and a cluster for them."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from airflow.cli.cli_parser import get_parser
from airflow.providers_manager import ProvidersManager

from airflow_synapse.rayjobs.base_executor import BaseRayExecutor
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard

if not hasattr(ProvidersManager, "cli_command_functions"):  # Airflow 3.1
    collect_ignore_glob = ["test_*.py"]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Airflow = Callable[..., Ended]


@pytest.fixture
def airflow_cli(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Airflow]:
    """``airflow_cli("ray", "list")`` does in this process what ``airflow ray list`` does."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")  # commands set it
    # As in a terminal; a shell starts what runs in the background with SIGINT ignored.
    on_interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    ours = logging.getLogger("airflow_synapse")
    level = ours.level
    handlers = [one for one in logging.root.handlers if isinstance(one, logging.StreamHandler)]
    streams = [handler.stream for handler in handlers]

    def run(*words: str) -> Ended:
        capsysbinary.readouterr()
        code = 0
        try:
            args = get_parser().parse_args(words)
            args.func(args)
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = (text.decode("utf-8", "surrogateescape") for text in capsysbinary.readouterr())
        return Ended(code, out, err)

    yield run
    signal.signal(signal.SIGINT, on_interrupt)
    ours.setLevel(level)
    for handler, stream in zip(handlers, streams, strict=True):
        handler.setStream(stream)


@pytest.fixture
def stub(stub_dashboard: StubDashboard, monkeypatch: pytest.MonkeyPatch) -> StubDashboard:
    """A stub dashboard to which ``ray_default`` leads."""
    connect(monkeypatch, stub_dashboard.url)
    monkeypatch.setattr(BaseRayExecutor, "pace", FAST_PACE)
    return stub_dashboard


def connect(monkeypatch: pytest.MonkeyPatch, url: str, **fields: object) -> None:
    """Let ``ray_default`` be a connection to this URL."""
    connection = {"conn_type": "ray", "host": url, **fields}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_DEFAULT", json.dumps(connection))
