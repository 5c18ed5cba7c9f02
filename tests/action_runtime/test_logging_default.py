"""What an action logs is in the job's log, once, and in the action's own format if it has one."""

from __future__ import annotations

import pytest

LOGS = """
import logging
%s
def run():
%s
    log = logging.getLogger("mine")
    log.debug("d"); log.info("i"); log.warning("w")
    return 1
"""

SITUATIONS = {
    "nothing": ("", "    pass", "INFO:mine:i\nWARNING:mine:w\n"),
    "basicConfig": (
        "",
        "    logging.basicConfig(format='%(message)s', level=logging.DEBUG)",
        "d\ni\nw\n",
    ),
    "basicConfig without a level": (
        "logging.basicConfig(format='%(message)s')",
        "    pass",
        "i\nw\n",
    ),
    "dictConfig": (
        "import logging.config",
        """\
    logging.config.dictConfig({
        "version": 1, "disable_existing_loggers": False,
        "formatters": {"f": {"format": "- %(message)s"}},
        "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f"}},
        "root": {"handlers": ["h"], "level": "WARNING"},
    })""",
        "- w\n",
    ),
    "a handler of its own": (
        "",
        """\
    handler = logging.StreamHandler(); handler.setFormatter(logging.Formatter("> %(message)s"))
    logging.getLogger("mine").addHandler(handler)""",
        "> i\n> w\n",
    ),
    "its own level": ("", "    logging.getLogger('mine').setLevel('WARNING')", "WARNING:mine:w\n"),
    "another stream": (
        "",
        "    import sys; sys.stderr = sys.stdout",
        "INFO:mine:i\nWARNING:mine:w\n",
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
def test_what_is_logged_comes_once(run_job, situation) -> None:
    """From INFO on with its level, until the action configures logging itself."""
    before, inside, log = situation

    assert run_job(LOGS % (before, inside)).log == log


def test_python_39_logs_too(run_job_on_python39) -> None:
    """With tracebacks."""
    code = """
import logging
def run():
    try:
        1 / 0
    except ArithmeticError:
        logging.getLogger("mine").exception("failed")
"""
    log = run_job_on_python39(code).log

    assert log.startswith("ERROR:mine:failed\nTraceback (most recent call last):\n")
    assert log.endswith("ZeroDivisionError: division by zero\n")
