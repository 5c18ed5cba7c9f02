"""A failed runtime_env is told by what its installer said, once and first."""

from __future__ import annotations

import pytest

from airflow_synapse.exceptions import RayJobRuntimeEnvError
from airflow_synapse.exceptions.installer_output import take_apart

TRACEBACK = """runtime_env setup failed: Failed to set up runtime environment.
Could not create the actor because its associated runtime env failed to be created.
[Node 192.0.2.2] Traceback (most recent call last):
  File "ray/_private/runtime_env/pip.py", line 252, in _install_pip_packages
    await check_output_cmd(pip_install_cmd, logger=logger, cwd=cwd, env=pip_env)
"""
FAILED_COMMAND = f"""{TRACEBACK}ray._private.runtime_env.utils.SubprocessCalledProcessError: Run cmd[8] failed with the following details.
Command '['python', '-m', 'pip', 'install']' returned non-zero exit status 1.
Last 50 lines of stdout:
"""
NOT_FOUND = """    Looking in links: /wheels
    ERROR: Could not find a version that satisfies the requirement torhc==2.9.1 (from versions: none)
    ERROR: No matching distribution found for torhc==2.9.1
"""
CONFLICT = """    Collecting requests==2.31.0
    ERROR: Cannot install requests==2.30.0 and requests==2.31.0 because these package versions have conflicting dependencies.

    The conflict is caused by:
        The user requested requests==2.31.0
"""
UV = """    Using Python 3.11.7 environment at: /tmp/virtualenv
    error: No solution found when resolving dependencies
      cause: Because torhc was not found in the package registry and you require torhc==2.9.1
"""


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (
            FAILED_COMMAND + NOT_FOUND,
            (
                "ERROR: Could not find a version that satisfies the requirement torhc==2.9.1 (from versions: none)",
                "ERROR: No matching distribution found for torhc==2.9.1",
            ),
        ),
        (
            FAILED_COMMAND + CONFLICT,
            (
                "ERROR: Cannot install requests==2.30.0 and requests==2.31.0 because these package versions have conflicting dependencies.",
                "The conflict is caused by:",
                "    The user requested requests==2.31.0",
            ),
        ),
        (
            FAILED_COMMAND + UV,
            (
                "error: No solution found when resolving dependencies",
                "  cause: Because torhc was not found in the package registry and you require torhc==2.9.1",
            ),
        ),
        (
            f"{FAILED_COMMAND}    Collecting a\nLast 50 lines of stderr:\n    error: no space left\n",
            ("error: no space left",),
        ),
        (
            f"{FAILED_COMMAND}    ERROR: no space left\nLast 50 lines of stderr:\n    a notice\n",
            ("ERROR: no space left",),
        ),
        (f"{TRACEBACK}OSError: disk full\n", ("OSError: disk full",)),
    ],
    ids=["pip, not found", "pip, conflict", "uv", "stderr", "stdout", "no installer"],
)
def test_installer_s_own_error_is_found(message: str, error: tuple[str, ...]) -> None:
    """The lines in which an installer says what is wrong are taken out of Ray's message."""
    found = take_apart(message)

    assert found.error == error
    assert found.rest.startswith(TRACEBACK.rstrip())
    assert not any(line in found.rest for line in error)


@pytest.mark.parametrize("message", ["", "\n", "a"])
def test_short_message_is_its_own_error(message: str) -> None:
    """Where there is nothing to take apart, nothing is lost."""
    found = take_apart(message)

    assert "".join(found.error) == message.strip()
    assert found.rest == ""


def test_long_output_keeps_its_end() -> None:
    """An error of hundreds of lines does not push everything else away."""
    output = "".join(f"    line {number}\n" for number in range(200))

    found = take_apart(f"{FAILED_COMMAND}    ERROR: a build failed\n{output}")

    assert len(found.error) == 20
    assert found.error[-1] == "line 199"


def test_error_of_a_failed_environment_begins_with_it() -> None:
    """The installer's words come first and once, then what to do, then Ray's traceback."""
    error = RayJobRuntimeEnvError(
        job_id="j",
        cluster="http://head:8265",
        error_type="RUNTIME_ENV_SETUP_FAILURE",
        message=FAILED_COMMAND + NOT_FOUND,
    )

    lines = str(error).splitlines()

    assert lines[0] == (
        "Ray job j on http://head:8265 FAILED (error type RUNTIME_ENV_SETUP_FAILURE): ERROR: Could not find a "
        "version that satisfies the requirement torhc==2.9.1 (from versions: none)"
    )
    assert lines[1] == "    ERROR: No matching distribution found for torhc==2.9.1"
    assert lines[2].startswith("Its runtime_env could not be set up.")
    assert lines[3:5] == ["Ray's message:", TRACEBACK.splitlines()[0]]
    assert str(error).count("No matching distribution") == 1


def test_message_in_place_of_a_log_is_not_told_twice() -> None:
    """What a sensor or an older trigger took for the end of the log is the end of Ray's message."""
    message = FAILED_COMMAND + NOT_FOUND
    error = RayJobRuntimeEnvError(message=message, last_lines=message.splitlines()[-20:])

    assert str(error).count("No matching distribution") == 1
    assert "The end of its log" not in str(error)
