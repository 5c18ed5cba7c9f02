"""``airflow ray logs``."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time

import aiohttp
import pytest

from airflow_synapse.cli import exits
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer
from tests.support.stub_jobs import NEVER, runtime_env_failure


@pytest.fixture(params=["agent", "dashboard"])
def way(request, stub) -> str:
    """The route by which the log is read."""
    if request.param == "dashboard":
        stub.inject(Answer(404), times=None, route=routes.AGENT_LOG)
    return request.param


def test_log_is_printed_as_it_is(airflow_cli, stub, way) -> None:
    """Byte for byte, odd ones too."""
    log = b"\n  \t one\r\n\x1b[31mred\x1b[0m \xff\x00 \xf0\x9f\x90\x8d\nno end"
    stub.add_job("j", log=((0.0, log),), has_header=False)

    told = airflow_cli("ray", "logs", "j")

    assert (told.code, told.err) == (0, "")
    assert told.out.encode("utf-8", "surrogateescape") == log


def test_tail_is_the_last_lines(airflow_cli, stub, way) -> None:
    """--tail N prints as many."""
    stub.add_job("j", log=((0.0, b"1\n2\n3\n"),))

    assert airflow_cli("ray", "logs", "--tail", "2", "j").out == "2\n3\n"


@pytest.mark.parametrize("words", [(), ("--tail", "2")])
def test_following_goes_on_to_the_end(airflow_cli, stub, way, words) -> None:
    """Each line once, also the last one without an end, and the code is the job's."""
    lines = ((0.0, b"1\n2\n3\n4 be"), (0.5, b"gun\n"), (0.8, b"5"))
    stub.add_job("j", log=lines, runtime=1.0, status="FAILED", has_header=False)

    told = airflow_cli("ray", "logs", "-f", *words, "j")

    assert told.code == exits.FAILED
    assert told.out == ("" if words else "1\n") + "2\n3\n4 begun\n5\n"
    assert "FAILED" in told.err


def test_following_outlasts_an_outage(airflow_cli, stub) -> None:
    """A cluster that is away for a moment ends nothing."""
    stub.add_job("j", log=((0.0, b"one\n"),), runtime=NEVER, has_header=False)

    def break_off() -> None:
        while not stub.count(routes.AGENT_LOG):
            time.sleep(0.01)
        stub.inject(Answer(503), times=2, route=routes.GET_JOB)
        asked = stub.count(routes.GET_JOB)
        while stub.count(routes.GET_JOB) < asked + 3:
            time.sleep(0.01)
        stub.jobs["j"].finish("STOPPED")

    outage = threading.Thread(target=break_off)
    outage.start()
    told = airflow_cli("ray", "logs", "--follow", "j")
    outage.join()

    assert (told.code, told.out) == (exits.STOPPED, "one\n")


@pytest.mark.parametrize("words", [(), ("--tail", "2")])
def test_end_that_was_seen_is_not_asked_for_again(airflow_cli, stub, words) -> None:
    """A job that SUCCEEDED is a success, even if the cluster goes away right after its end."""
    stub.add_job("j", log=((0.0, b"one\n"),), has_header=False)
    stub.inject(Answer(503), times=None, route=routes.GET_JOB, after=1)

    told = airflow_cli("ray", "logs", "-f", *words, "j")

    assert (told.code, told.out) == (0, "one\n")


def test_following_takes_two_sessions(airflow_cli, stub, monkeypatch) -> None:
    """One with the dashboard and one with the agents on the nodes serve the whole command."""
    made = []
    init = aiohttp.ClientSession.__init__
    monkeypatch.setattr(
        aiohttp.ClientSession,
        "__init__",
        lambda session, *args, **kwargs: (made.append(session), init(session, *args, **kwargs))[1],
    )
    stub.add_job("j", log=((0.0, b"1\n2\n3\n"),), runtime=0.3, has_header=False)

    assert airflow_cli("ray", "logs", "-f", "--tail", "2", "j").out == "2\n3\n"

    assert len(made) == 2


def test_following_an_ended_job_ends(airflow_cli, stub) -> None:
    """Its log is printed, and the code is its end's."""
    stub.add_job("j", log=((0.0, b"all\n"),), has_header=False)

    told = airflow_cli("ray", "logs", "--follow", "j")

    assert (told.code, told.out) == (0, "all\n")


def test_job_without_a_log_is_told(airflow_cli, stub) -> None:
    """A job that never ran has Ray's message, which is no log and goes to standard error."""
    stub.add_job("j", **runtime_env_failure("no such package").__dict__)
    stub.add_job("k", pending=NEVER)

    failed, waiting = airflow_cli("ray", "logs", "j"), airflow_cli("ray", "logs", "k")

    assert (failed.out, waiting.out) == ("", "")
    assert "no such package" in failed.err
    assert "is PENDING and has no log yet. Job has not started yet." in waiting.err


def test_follower_learns_what_happens_to_the_job(airflow_cli, stub) -> None:
    """Its log may stay empty for long, while it waits."""
    stub.add_job("j", runtime=0.3, pending=0.3, log=((0.0, b"1\n"),), has_header=False)

    told = airflow_cli("ray", "logs", "--follow", "j")

    assert told.out == "1\n"
    assert "Ray job j is PENDING." in told.err


def test_interrupt_leaves_the_job_running(airflow_cli, stub) -> None:
    """Ctrl-C ends the following, not the job, and says how to go on."""
    job = stub.add_job("j", log=((0.0, b"1\n"),), runtime=NEVER, has_header=False)
    main = threading.main_thread().ident
    threading.Timer(1.0, signal.pthread_kill, (main, signal.SIGINT)).start()

    told = airflow_cli("ray", "logs", "--follow", "j")

    assert (told.code, told.out, job.status) == (exits.INTERRUPTED, "1\n", "RUNNING")
    assert "airflow ray logs --follow j\n" in told.err
    assert "airflow ray stop j\n" in told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize("lines", [200_000, 1])
def test_reader_may_leave(stub, tmp_path, lines) -> None:
    """``airflow ray logs … | head`` ends without a complaint, also before a quiet job prints its next line."""
    stub.add_job("j", log=((0.0, b"line\n" * lines),), runtime=NEVER, has_header=False)
    script = (
        "from airflow_synapse.cli.definition import get_ray_cli_commands\n"
        "from argparse import Namespace\n"
        "(group,) = get_ray_cli_commands()\n"
        "(logs,) = [c for c in group.subcommands if c.name == 'logs']\n"
        "logs.func(Namespace(job_id='j', follow=True, tail=None, conn_id='ray_default'))\n"
    )
    reading = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
    )
    assert reading.stdout.readline() == b"line\n"

    reading.stdout.close()

    _, told = reading.communicate(timeout=100)
    assert reading.returncode == 128 + signal.SIGPIPE
    assert b"Traceback" not in told
    assert b"Broken" not in told


@pytest.mark.parametrize("words", [(), ("--follow",)])
def test_terminal_obeys_no_log(airflow_cli, stub, monkeypatch, words) -> None:
    """What a job prints could else forge what a command says, or have the terminal type. Colours stay."""
    log = b"\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b[2J\x1bP+q544e\x1b\\\x08 10%\r20%\n\x1b[3"
    stub.add_job("j", log=((0.0, log),), has_header=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    told = airflow_cli("ray", "logs", "j", *words)

    assert told.out.split("\n")[0].rpartition("\r")[2] == "20%"
    assert set(re.findall("\x1b[^m]*m?", told.out)) <= {"\x1b[31m", "\x1b[0m"}
    assert "title" not in told.out
