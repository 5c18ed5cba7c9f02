"""The action runtime as a process: what it calls, its exit codes, its log and its result."""

from __future__ import annotations

import pytest


def test_function_is_called_with_the_params_and_leaves_its_result(run_job):
    """Params are keyword arguments, the return value is the result, the log is the action's."""
    job = run_job("def run(a, *, b=2):\n    print('working')\n    return [a, b]", {"a": "é\n'\""})

    assert job.exit_code == 0
    assert job.log == "working\n"
    assert job.result == ["é\n'\"", 2]


def test_async_function_is_awaited(run_job):
    """An async def is an action like any other."""
    job = run_job(
        "import asyncio\nasync def run(n):\n    await asyncio.sleep(0)\n    return n", {"n": 1}
    )

    assert (job.exit_code, job.result) == (0, 1)


@pytest.mark.parametrize(
    "code",
    [
        "import functools\ndef add(a, b): return a + b\nrun = functools.partial(add, b=2)",
        "class Adder:\n    def __call__(self, a): return a + 2\nrun = Adder()",
        "class Adder:\n    async def __call__(self, a): return a + 2\nrun = Adder()",
        "class Adder:\n    @staticmethod\n    def add(a): return a + 2\nrun = Adder.add",
        "run = lambda a: a + 2",
    ],
)
def test_whatever_can_be_called_is_an_action(run_job, code):
    """Partials, callable objects and methods are called like functions."""
    job = run_job(code, {"a": 1})

    assert (job.exit_code, job.result, job.log) == (0, 3, "")


def test_entrypoint_may_name_what_is_inside_an_object(run_job):
    """The attribute may have dots."""
    code = "class Tools:\n    @staticmethod\n    def run(): return 'in'"

    assert run_job(code, entrypoint="action:Tools.run").result == "in"


def test_plugin_folder_is_where_the_action_runs_and_imports_from(run_job):
    """Files are opened and modules imported as if started in the folder."""
    code = "import os, sys\nfrom tools.data import NAME\ndef run(): return [NAME, os.listdir('.'), sys.path[0] == os.getcwd()]"

    job = run_job(code, files={"tools/data.py": "NAME = 'x'"})

    assert job.result[0] == "x"
    assert "tools" in job.result[1]
    assert job.result[2] is True


def test_params_of_megabytes_arrive_and_leave(run_job):
    """Neither the call nor the result goes through anything that has a small limit."""
    job = run_job("def run(text): return text + '!'", {"text": "x" * 5_000_000})

    assert len(job.result) == 5_000_001
    assert job.log == ""


def test_exception_is_told_with_the_frames_of_the_action_only(run_job):
    """The traceback begins in the user's code, causes included; exit code 1, no result."""
    code = """\
def inner():
    try:
        {}["key"]
    except KeyError as exc:
        raise ValueError("ouch") from exc
async def run(): inner()
"""

    job = run_job(code)

    assert job.exit_code == 1
    assert "KeyError: 'key'" in job.log
    assert job.log.rstrip().endswith("ValueError: ouch")
    assert "airflow_synapse_action_runtime" not in job.log
    assert "asyncio" not in job.log
    assert not job.result_file.exists()


def test_module_that_fails_to_import_is_the_plugins_failure(run_job):
    """What the module raises is shown as it is."""
    job = run_job("import no_such_library\ndef run(): pass")

    assert job.exit_code == 1
    assert "No module named 'no_such_library'" in job.log
    assert "airflow_synapse_action_runtime" not in job.log


@pytest.mark.parametrize(
    ("given", "code", "result"),
    [("3", 3, None), ("", 0, "null"), ("0", 0, "null"), ("'bye'", 1, None)],
)
def test_exit_of_the_action_passes_through(run_job, given, code, result):
    """sys.exit means what it says; an exit without failure has no value, like a bare return."""
    job = run_job(f"import sys\ndef run(): sys.exit({given})")

    assert job.exit_code == code
    assert job.result_file.exists() == (result is not None)
    if result:
        assert job.result is None


@pytest.mark.parametrize(
    ("signature", "params", "told"),
    [
        ("a, b=1", {}, "missing 'a'"),
        ("a", {"a": 1, "c": 2}, "unexpected 'c'"),
        ("a, *, b", {"x": 1}, "missing 'a', 'b' and unexpected 'x'"),
        ("a, /", {"a": 1}, "unexpected 'a'"),
        ("a, **more", {"b": 1}, "missing 'a'"),
    ],
)
def test_params_that_do_not_fit_are_named(run_job, signature, params, told):
    """Nothing is called, the exit code is 2 and the log says which and what would fit."""
    job = run_job(f"def run({signature}): print('called')", params)

    assert job.exit_code == 2
    assert told in job.log
    assert "action 'train'" in job.log
    assert f"action:run({signature})" in job.log
    assert "called" not in job.log


def test_type_error_inside_the_action_is_not_taken_for_wrong_params(run_job):
    """Only the call itself is checked against the signature."""
    job = run_job("def run(a): len(a)", {"a": 1})

    assert job.exit_code == 1
    assert "TypeError" in job.log


@pytest.mark.parametrize(
    ("code", "entrypoint", "told"),
    [
        ("", "nowhere:run", "'nowhere' is neither in the plugin folder"),
        ("", "nowhere.deep:run", "'nowhere' is neither in the plugin folder"),
        ("", "action.deep:run", "'action.deep' is neither in the plugin folder"),
        ("def run_all(): pass", "action:run_al", "did you mean 'run_all'?"),
        ("run = 5", "action:run", "is of type int, neither a function"),
        ("class Run: pass", "action:Run", "is a class, but not a subclass"),
        ("def run(): yield 1", "action:run", "generator function"),
        ("async def run(): yield 1", "action:run", "generator function"),
    ],
)
def test_what_can_not_be_called_is_refused_in_one_line(run_job, code, entrypoint, told):
    """Exit code 2 and a sentence in the log, no traceback."""
    job = run_job(code, entrypoint=entrypoint)

    assert job.exit_code == 2
    assert told in job.log
    assert job.log.count("\n") == 1


def test_broken_call_is_refused(run_job):
    """A call that can't be read is told, not guessed."""
    job = run_job(call=b"{")

    assert job.exit_code == 2
    assert "call.json" in job.log


def test_result_of_odd_types_is_json_and_told(run_job):
    """What JSON has no word for is replaced with a warning that names it; the job succeeds."""
    code = "def run(): return {'loss': float('nan'), 'raw': b'x', 'ok': (1, 2)}"

    job = run_job(code)

    assert job.exit_code == 0
    assert job.result == {"loss": None, "raw": "b'x'", "ok": [1, 2]}
    assert "airflow-synapse: result.loss is nan" in job.log
    assert "airflow-synapse: result.raw was replaced by its repr" in job.log


def test_result_is_written_whole_or_not_at_all(run_job):
    """Beside the log there is nothing but the result."""
    job = run_job("def run(): return 1")

    names = sorted(path.name for path in job.result_file.parent.iterdir())

    assert names == [f"airflow-synapse-result-{job.job_id}.json", f"job-driver-{job.job_id}.log"]


def test_action_that_redirects_its_output_still_leaves_its_result(run_job):
    """The place is looked up before the action runs."""
    code = "import os\ndef run():\n    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)\n    return 1"

    assert run_job(code).result == 1


def test_process_that_is_no_driver_says_that_the_result_is_lost(run_job):
    """The work is done, so the job succeeds, and the log says what is missing."""
    job = run_job("def run(): return 1", log_name="other.log")

    assert job.exit_code == 0
    assert "the result is lost" in job.log
    assert not job.result_file.exists()


def test_result_that_can_not_be_written_does_not_fail_the_job(run_job):
    """A name that is too long stands for any trouble of the disk."""
    job = run_job("def run(): return 1", log_name=f"job-driver-{'x' * 235}.log")

    assert job.exit_code == 0
    assert "the result is lost: it can't be written to" in job.log
    assert [path.suffix for path in job.result_file.parent.iterdir()] == [".log"]


def test_fork_that_returns_into_the_runtime_leaves_no_result(run_job):
    """The result is that of the process which Ray started."""
    code = "import os\ndef run():\n    pid = os.fork()\n    if pid: os.waitpid(pid, 0)\n    return 'parent' if pid else 'child'"

    job = run_job(code)

    assert (job.exit_code, job.result) == (0, "parent")
    assert job.log.count("lost") == 0


def test_spawned_processes_of_the_action_do_not_run_it_again(run_job):
    """multiprocessing imports the main module anew in its children."""
    code = "import multiprocessing as mp\ndef work(n): return n * n\ndef run():\n    print('once')\n    with mp.get_context('spawn').Pool(2) as pool: return pool.map(work, [1, 2, 3])"

    job = run_job(code)

    assert (job.result, job.log) == ([1, 4, 9], "once\n")


SDK = {
    "synapse_sdk/__init__.py": "",
    "synapse_sdk/plugins/__init__.py": "",
    "synapse_sdk/plugins/action.py": "class BaseAction: pass",
    "synapse_sdk/plugins/entrypoint.py": """\
import importlib, json, os
def _output_result(result): print('__SYNAPSE_RESULT_START__', result)
def main():
    module, name = os.environ['SYNAPSE_ACTION_ENTRYPOINT'].rsplit('.', 1)
    text = os.environ.get('SYNAPSE_ACTION_PARAMS')
    if not text:
        with open(os.environ['SYNAPSE_ACTION_PARAMS_FILE']) as file: text = file.read()
    result = getattr(importlib.import_module(module), name)().execute(json.loads(text))
    _output_result(result)
    return {**result, 'job': os.environ['SYNAPSE_JOB_ID']}
""",
}
SDK_ACTION = """\
from synapse_sdk.plugins.action import BaseAction
class Train(BaseAction):
    def execute(self, params): return {'secret': len(params['text'])}
"""


@pytest.mark.parametrize("size", [3, 500_000])
def test_synapse_sdk_action_goes_through_the_sdks_own_entrypoint(run_job, size):
    """By the environment it reads, less the result it prints; large params go by a file."""
    job = run_job(SDK_ACTION, {"text": "x" * size}, entrypoint="action:Train", files=SDK)

    assert job.exit_code == 0
    assert job.result == {"secret": size, "job": job.job_id}
    assert "SYNAPSE_RESULT" not in job.log


def test_synapse_sdk_action_that_refuses_its_params_says_so(run_job):
    """Params that its model refuses are a call that can't be made: exit code 2."""
    code = """\
from synapse_sdk.plugins.action import BaseAction
class Params: pass
class ValidationError(ValueError):
    title = 'Params'
    def errors(self): return []
class Train(BaseAction):
    params_model = Params
    def execute(self, params): raise ValidationError('epochs is no number')
"""

    job = run_job(code, {}, entrypoint="action:Train", files=SDK)

    assert job.exit_code == 2
    assert "epochs is no number" in job.log


def test_old_python_of_a_cluster_will_do(run_job_on_python39):
    """The cluster's Python may be as old as 3.9."""
    code = "import sys\ndef run(a): return [a, sys.version_info[:2], {1}, float('nan')]"

    job = run_job_on_python39(code, {"a": 1})

    assert job.exit_code == 0
    assert job.result == [1, [3, 9], [1], None]


def test_old_python_shows_the_action_s_own_traceback(run_job_on_python39):
    """The frames of an async action are found there too."""
    job = run_job_on_python39("async def run(): raise ValueError('ouch')")

    assert job.exit_code == 1
    assert "ouch" in job.log
    assert "asyncio" not in job.log
