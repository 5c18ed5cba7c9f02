"""``airflow ray submit``: what is sent, what is printed, and how it ends."""

from __future__ import annotations

import io
import json
import signal
import socket
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_synapse import settings
from airflow_synapse.cli import exits
from airflow_synapse.cli.submit import UploadDisplay
from airflow_synapse.rayjobs.executor import RayJobExecutor
from tests.cli.conftest import connect
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer, Delay
from tests.support.stub_jobs import NEVER, runtime_env_failure

CONFIG = """
name: digits
actions:
  train:
    entrypoint: actions:train
    params: {type: object, properties: {epochs: {type: integer}}}
"""


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    folder = tmp_path / "plugin"
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIG)
    return str(folder)


def calls_in(packages: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield what the packages say is to be called."""
    for package in packages:
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            for name in archive.namelist():
                if name.endswith("call.json"):
                    yield json.loads(archive.read(name))


def test_only_the_id_is_printed(airflow_cli, stub, plugin) -> None:
    """A script can keep what is printed as the job's id."""
    told = airflow_cli("ray", "submit", "--working-dir", plugin, "train", "--params", "{}")

    (job_id,) = stub.jobs
    assert (told.code, told.out, told.err) == (0, f"{job_id}\n", "")


def test_all_of_the_request_is_sent(airflow_cli, stub, tmp_path) -> None:
    """Resources, environment, runtime_env and id reach Ray, and whose job it is."""
    (tmp_path / "env.json").write_text('{"env_vars": {"C": "3"}}')

    told = airflow_cli(
        *("ray", "submit", "--job-id", "mine", "--num-cpus", "2", "--num-gpus", "0.5"),
        *("--memory", "1000", "--resources", '{"tpu": 1}', "--env", "A=1", "--env", "B=x=y"),
        *("--runtime-env", f"@{tmp_path}/env.json", "--", "python", "train.py", "a b"),
    )

    assert told.out == "mine\n"
    request = stub.jobs["mine"].request
    assert request["entrypoint"] == "python train.py 'a b'"
    assert request["entrypoint_num_cpus"] == 2
    assert request["entrypoint_num_gpus"] == 0.5
    assert request["entrypoint_memory"] == 1000
    assert request["entrypoint_resources"] == {"tpu": 1}
    assert request["runtime_env"]["env_vars"] == {"A": "1", "B": "x=y", "C": "3"}
    assert request["metadata"]["airflow_deployment"] == settings.deployment()


def test_one_word_is_a_shell_command(airflow_cli, stub) -> None:
    """What is given as one word is left to the shell of the job."""
    airflow_cli("ray", "submit", "--job-id", "j", "--", "echo $HOME | wc -c")

    assert stub.jobs["j"].request["entrypoint"] == "echo $HOME | wc -c"


def test_same_id_starts_nothing_new(airflow_cli, stub) -> None:
    """A script that is run again gets the job it has; another command under that id is refused."""
    for _ in range(2):
        assert airflow_cli("ray", "submit", "--job-id", "j", "--", "true").out == "j\n"
    other = airflow_cli("ray", "submit", "--job-id", "j", "--", "false")

    assert stub.count(routes.SUBMIT) == 1
    assert (other.code, other.out) == (exits.BAD_INPUT, "")
    assert "already has" in other.err


def test_params_may_come_from_a_pipe(airflow_cli, stub, plugin, monkeypatch) -> None:
    """``@-`` reads standard input."""
    monkeypatch.setattr("sys.stdin", io.StringIO('{"epochs": 3}'))

    told = airflow_cli("ray", "submit", "--working-dir", plugin, "train", "--params", "@-")

    assert told.code == 0
    assert {"epochs": 3} in [call["params"] for call in calls_in(stub.packages.values())]


def test_waiting_prints_the_log_and_nothing_else(airflow_cli, stub) -> None:
    """With --wait the log goes to standard output, all else to standard error."""
    stub.script("j", log=((0.0, b"  one\n\xf0\x9f\x90\x8d two\n"),), has_header=False, runtime=0.1)

    told = airflow_cli("ray", "submit", "--job-id", "j", "--wait", "--", "true")

    assert (told.code, told.out) == (0, "  one\n🐍 two\n")
    assert told.err.startswith(f"Submitted Ray job j to {stub.url}.\n")
    assert "Ray job j SUCCEEDED" in told.err


@pytest.mark.parametrize(
    ("ends", "code", "words"),
    [
        ({"status": "FAILED", "exit_code": 3}, exits.FAILED, "FAILED (error type"),
        ({"status": "STOPPED"}, exits.STOPPED, "was STOPPED"),
        (runtime_env_failure("no such package").__dict__, exits.FAILED, "no such package"),
    ],
)
def test_waiting_exits_as_the_job_ends(airflow_cli, stub, ends, code, words) -> None:
    """FAILED and STOPPED have codes of their own, and the log is not told twice."""
    stub.script("j", **{"log": ((0.0, b"unlucky line\n"),), **ends})

    told = airflow_cli("ray", "submit", "--job-id", "j", "--wait", "--", "true")

    assert told.code == code
    assert words in told.err
    assert "unlucky line" not in told.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give an action of the plugin"),
        (["train", "--", "ls"], "not both"),
        (["--params", "{}", "--", "ls"], "--params is only for actions"),
        (["train", "--params", "{s3cret"], "--params is not JSON"),
        (["train", "--params", "[1]"], "--params must be a JSON object, {…}, but is of type list"),
        (["train", "--params", "@/nowhere"], "/nowhere can't be read: No such file"),
        (["train", "--env", "s3cret"], "--env takes NAME=VALUE"),
        (["train", "--env", "=s3cret"], "--env takes NAME=VALUE"),
        (["tarin"], "has no action 'tarin'. Available actions: train"),
        (["train", "--params", '{"epochs": "s"}'], "params.epochs"),
        (["--job-id", "a/b", "--", "ls"], "Ray can't use its submission ID"),
        (["--num-cpus", "-1", "--", "ls"], "num_cpus is -1.0"),
        (["--runtime-env", '{"pip": 7}', "--", "ls"], "runtime_env['pip'] is an int"),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(airflow_cli, stub, plugin, words, told):
    """One sentence says what is wrong, repeats no value that may be secret, and the code is 2."""
    ended = airflow_cli("ray", "submit", "--working-dir", plugin, *words)

    assert (ended.code, ended.out) == (exits.BAD_INPUT, "")
    assert told in ended.err
    assert "Traceback" not in ended.err
    assert "s3cret" not in ended.err
    assert stub.calls == []


def test_cluster_that_is_down_is_told(airflow_cli, monkeypatch) -> None:
    """Nobody at the address: code 6."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    connect(monkeypatch, f"http://127.0.0.1:{port}")

    told = airflow_cli("ray", "submit", "--", "true")

    assert (told.code, "unreachable" in told.err) == (exits.UNREACHABLE, True)


def test_refused_credentials_are_told_without_them(airflow_cli, stub, monkeypatch) -> None:
    """401: code 7, and the token stays out of the text."""
    connect(monkeypatch, stub.url, password="t0ken")
    stub.inject(Answer(401), times=None)

    told = airflow_cli("ray", "submit", "--", "true")

    assert (told.code, "t0ken" in told.err) == (exits.AUTHENTICATION, False)


def test_connection_that_is_not_there_is_told(airflow_cli) -> None:
    """No such connection: code 8, and how to make one."""
    told = airflow_cli("ray", "submit", "--conn-id", "nowhere", "--", "true")

    assert told.code == exits.CONNECTION
    assert "airflow connections add nowhere --conn-type ray" in told.err


@contextmanager
def pressing_ctrl_c(is_so: Callable[[], bool]) -> Iterator[None]:
    """Press Ctrl-C once it is so."""
    is_over = threading.Event()

    def press() -> None:
        while not is_so():
            if is_over.wait(0.01):
                return
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    yield
    is_over.set()
    pressing.join()


def test_ctrl_c_during_an_upload_submits_nothing(airflow_cli, stub, plugin) -> None:
    """The command ends at once, and says that there is no job."""
    stub.inject(Delay(60), route=routes.PUT_PACKAGE)

    with pressing_ctrl_c(lambda: stub.count(routes.PUT_PACKAGE) > 0):
        told = airflow_cli("ray", "submit", "--working-dir", plugin, "train")

    assert (told.code, told.out) == (exits.INTERRUPTED, "")
    assert "Interrupted. Nothing was submitted." in told.err
    assert stub.count(routes.SUBMIT) == 0


def test_ctrl_c_during_a_submission_stops_the_job(airflow_cli, stub) -> None:
    """The request is followed up until the job is there and can be stopped."""
    stub.script(runtime=NEVER)
    stub.inject(Delay(0.5), route=routes.SUBMIT)

    with pressing_ctrl_c(lambda: stub.count(routes.SUBMIT) > 0):
        told = airflow_cli("ray", "submit", "--job-id", "j", "--", "true")

    assert (told.code, told.out) == (exits.INTERRUPTED, "")
    assert "Interrupted. Ray job j was stopped." in told.err
    assert stub.jobs["j"].status == "STOPPED"


def test_job_that_is_not_stopped_after_ctrl_c_is_named(airflow_cli, stub) -> None:
    """If the user has no patience, the commands that check and stop the job are told."""
    stub.script(runtime=NEVER, stop_delay=NEVER)
    stub.inject(Delay(0.5), route=routes.SUBMIT)

    with (
        pressing_ctrl_c(lambda: stub.count(routes.SUBMIT) > 0),
        pressing_ctrl_c(lambda: stub.count(routes.STOP) > 0),
    ):
        told = airflow_cli("ray", "submit", "--job-id", "j", "--", "true")

    assert (told.code, told.out) == (exits.INTERRUPTED, "")
    assert "Ray job j may be running.\n" in told.err
    assert "airflow ray stop j\n" in told.err


def test_upload_shows_how_far_it_is(stub, tmp_path) -> None:
    """On a terminal one line counts up to the package's size."""
    (tmp_path / "noise").write_bytes(json.dumps(list(range(300_000))).encode())
    terminal = io.StringIO()
    executor = RayJobExecutor(stub.url, working_dir=tmp_path)
    executor.on_upload = UploadDisplay(terminal)

    executor.submit_entrypoint("true")

    lines = terminal.getvalue().split("\r")
    (size,) = {len(package) for package in stub.packages.values()}
    end = f"{size / 1024**2:.1f}"
    assert lines[-1] == f"Uploading: {end} of {end} MiB\n"
    assert len(lines) > 2
