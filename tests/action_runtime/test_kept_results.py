"""A result is kept whatever the action did to its process before it returned."""

from __future__ import annotations

import json

import pytest

VALUE = "{'model': object(), 'accuracy': 0.9}"  # one of its values has to be warned of

DEEDS = {
    "stderr is None": "sys.stderr = None",
    "both are None": "sys.stdout = sys.stderr = None",
    "no stderr at all": "del sys.stderr, sys.__stderr__",
    "stderr closed": "sys.stderr.close()",
    "stdout closed": "print('x'); sys.stdout.close()",
    "objects without methods": "sys.stdout = sys.stderr = object()",
    "stderr in memory": "sys.stderr = io.StringIO()",
    "flush raises": "sys.stdout = type('Out', (), {'flush': lambda self: 1 / 0})()",
    "descriptors closed": "print('x'); os.close(1); os.close(2)",
    "descriptors elsewhere": "fd = os.open(os.devnull, 1); os.dup2(fd, 1); os.dup2(fd, 2)",
    "all descriptors closed": "os.closerange(0, 4096)",
    "all closed, others opened": "os.closerange(0, 4096); run.files = [open('x%d' % i, 'w') for i in range(200)]",
    "no descriptor left": "resource.setrlimit(resource.RLIMIT_NOFILE, (130, 130)); run.fds = all_fds()",
    "warnings are errors": "warnings.simplefilter('error')",
    "other folder": "os.chdir('/')",
    "folder deleted": "import shutil; shutil.rmtree(os.getcwd())",
    "strict umask": "os.umask(0o777)",
    "empty environment": "os.environ.clear()",
    "daemon thread": "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
    "thread that works on": "threading.Thread(target=lambda: (time.sleep(0.2), print('later'))).start()",
    "thread that raises": "threading.Thread(target=lambda: 1 / 0).start()",
    "raises in atexit": "atexit.register(lambda: 1 / 0)",
    "stdout broken in atexit": "atexit.register(lambda: setattr(sys, 'stdout', object()))",
    "open replaced": "import builtins; builtins.open = io.open = os.open = None",
    "os replaced": "os.write = os.rename = os.replace = os.fstat = os.lstat = os.unlink = None",
    "json replaced": "json.dumps = json.loads = json.JSONEncoder.default = lambda *a, **k: b''",
    "repr replaced": "import builtins; builtins.print = builtins.repr = lambda *a: 1 / 0",
    "sys.exit replaced": "sys.exit = lambda *a: None",
    "recursion limit lowered": "sys.setrecursionlimit(60)",
    "recursion limit raised": "sys.setrecursionlimit(10**9)",
    "int digits lowered": "getattr(sys, 'set_int_max_str_digits', len)(640)",
    "modules deleted": "[sys.modules.pop(n) for n in list(sys.modules) if n not in ('sys', '__main__')]",
    "hooks raise": "sys.excepthook = sys.unraisablehook = lambda *a: 1 / 0",
    "audit hook": "sys.addaudithook(lambda name, args: 1 / 0 if name == 'open' and 'hosts' in str(args) else 0)",
    "own alarm": "signal.signal(signal.SIGALRM, lambda *a: 1 / 0); signal.alarm(600)",
    "own faulthandler": "import faulthandler; faulthandler.enable(open('crashes', 'w'))",
    "faulthandler off": "import faulthandler; faulthandler.disable()",
    "trace function": "sys.settrace(lambda *a: None)",
    "garbage that raises": "run.x = type('T', (), {'__del__': lambda self: 1 / 0})(); del run.x",
}


def action(deed: str, value: str = VALUE) -> str:
    return f"""\
import atexit, io, json, os, resource, signal, sys, threading, time, warnings

def all_fds():
    fds = []
    while True:
        try: fds.append(os.open(os.devnull, os.O_RDONLY))
        except OSError: return fds

def run():
    {deed}
    return {value}
"""


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
def test_result_is_kept_whatever_the_action_did(run_job, deed):
    """The work is done: it is there, and the job has succeeded."""
    job = run_job(action(deed))

    assert job.exit_code == 0
    assert job.result["accuracy"] == 0.9
    assert job.result["model"].startswith("<object object at")


@pytest.mark.parametrize(
    "deed",
    [
        "sys.stderr = None",
        "sys.stderr = io.StringIO()",
        "print('x'); os.close(1); os.close(2)",
        "fd = os.open(os.devnull, 1); os.dup2(fd, 1); os.dup2(fd, 2)",
        "sys.excepthook = lambda *a: None",
        "sys.excepthook = lambda *a: 1 / 0",
        "del sys.stdout, sys.stderr",
        "sys.stdout = sys.stderr = object()",
    ],
)
def test_log_tells_all_the_same(run_job, deed):
    """Warnings, tracebacks and reasons to exit reach the log of the job."""
    warned = run_job(action(deed))
    raised = run_job(action(f"{deed}; {{}}['ouch']"))
    left = run_job(action(f"{deed}; raise SystemExit('no more data')"))

    assert "result.model was replaced by its repr" in warned.log
    assert raised.log.count("KeyError: 'ouch'") == 1
    assert raised.exit_code == 1
    assert left.log.endswith("no more data\n")
    assert left.exit_code == 1


def test_exception_that_can_not_be_changed_is_told(run_job):
    """A frozen dataclass may be an exception."""
    code = "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass Ouch(Exception):\n    n: int\ndef run(): raise Ouch(7)"

    job = run_job(code)

    assert job.exit_code == 1
    assert "Ouch" in job.log
    assert "FrozenInstanceError" not in job.log


@pytest.mark.parametrize("code", ["", "0", "None", "False", "256"])
def test_exit_without_failure_leaves_a_result(run_job, code):
    """Nothing failed, so there is a result: that of a bare return."""
    job = run_job(action(f"sys.stderr = None; sys.exit({code})"))

    assert (job.exit_code, job.result) == (0, None)


@pytest.mark.parametrize("code", ["''", "[]", "0.0", "257"])
def test_exit_with_a_failure_leaves_none(run_job, code):
    """Python ends with 1 for whatever is neither None nor a number."""
    job = run_job(action(f"sys.exit({code})"))

    assert job.exit_code == 1
    assert not job.result_file.exists()


def test_what_is_printed_never_lands_in_the_result(run_job):
    """A file that is opened while standard output is closed would get its number."""
    deed = "os.close(1); os.close(2); atexit.register(os.write, 1, b'late')"

    job = run_job(action(deed, "1"))

    assert job.result_file.read_text() == '{"result": 1}'
    assert job.log == "late"


def test_warnings_never_land_in_a_file_of_the_action(run_job, tmp_path):
    """What it opened after it had closed everything may have the number of our log."""
    deed = "os.closerange(0, 4096); run.files = [open(f'f{i}', 'w') for i in range(200)]"

    job = run_job(action(deed))

    files = list((tmp_path / "plugin").glob("f*"))
    assert job.exit_code == 0
    assert len(files) == 200
    assert {file.read_text() for file in files} == {""}


def test_crash_in_native_code_shows_the_line(run_job):
    """Also where standard error has been replaced or closed."""
    code = "import ctypes, os, sys\ndef run():\n    sys.stderr = None\n    os.close(2)\n    crash()\ndef crash():\n    ctypes.string_at(0)"

    job = run_job(code)

    assert job.exit_code < 0
    assert 'action.py", line 7 in crash' in job.log


def test_action_s_own_faulthandler_is_left_alone(run_job, tmp_path):
    """Who enables another one gets it."""
    code = "import ctypes, faulthandler\ndef run():\n    faulthandler.enable(open('crash', 'w'))\n    ctypes.string_at(0)"

    job = run_job(code)

    assert "action.py" in (tmp_path / "plugin" / "crash").read_text()
    assert "action.py" not in job.log


def test_leftover_task_that_raises_does_not_cost_the_result(run_job):
    """It is cancelled after the action has returned."""
    code = """\
import asyncio, sys
async def stubborn():
    try: await asyncio.sleep(600)
    finally: sys.exit(3)
async def run():
    run.task = asyncio.ensure_future(stubborn())
    await asyncio.sleep(0)
    return "done"
"""

    job = run_job(code)

    assert (job.exit_code, job.result) == (0, "done")


@pytest.mark.parametrize("end", ["os._exit(0)", "os.execvp('true', ['true'])"])
def test_action_that_ends_its_process_has_not_returned(run_job, end):
    """Exit code 0 and no result: what lies in its place says why."""
    job = run_job(action(end))

    assert job.exit_code == 0
    assert json.loads(job.result_file.read_text()) == {"returned": False}


def test_while_the_action_runs_there_is_no_result(run_job):
    """Who looks early sees that it has not returned, and never half of a result."""
    code = "import glob\ndef run(): return [open(f).read() for f in glob.glob('../logs/*result*')]"

    assert run_job(code).result == ['{"returned": false}']


def test_module_that_exits_when_imported_has_run_nothing(run_job):
    """That is no success, although the module says so."""
    job = run_job("import sys\ndef run(): pass\nsys.exit()")

    assert job.exit_code == 2
    assert "while it was imported" in job.log
    assert not job.result_file.exists()


def test_decorator_may_give_what_the_params_lack(run_job):
    """What matters is whether the call can be made, not how the function inside looks."""
    code = """\
import functools
def with_session(function):
    @functools.wraps(function)
    def call(**params): return function(session='s', **params)
    return call
@with_session
def run(session, n): return [session, n]
"""

    assert run_job(code, {"n": 1}).result == ["s", 1]
    missing = run_job(code, {})
    assert missing.exit_code == 2
    assert "'n'" in missing.log


def test_plugin_may_have_files_named_like_modules_of_python(run_job):
    """They must not stand in for what the runtime needs."""
    names = ("json", "difflib", "tempfile", "dataclasses", "uuid", "asyncio", "faulthandler")
    job = run_job("def run(): return 1", files={f"{name}.py": "1 / 0" for name in names})

    assert (job.exit_code, job.result) == (0, 1)


def test_job_that_waits_for_a_thread_says_so(run_job):
    """The result is there already, and nobody else would know why the job goes on."""
    code = """\
import threading, time
from airflow_synapse_action_runtime import runner
def poll():
    while "poller" not in open("../logs/job-driver-dag.task.x-1.log").read(): time.sleep(0.01)
def run():
    runner._SILENT_SECONDS = 0.01
    threading.Thread(target=poll, name="poller").start()
    return 1
"""

    job = run_job(code)

    assert (job.exit_code, job.result) == (0, 1)
    assert "the job waits for threads that it left running: 'poller'" in job.log
