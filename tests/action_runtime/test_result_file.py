"""The result's file in a folder to which everybody may write."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from airflow_synapse.action_runtime.log_folder import JobPlace, find_place
from airflow_synapse.action_runtime.results import result_file
from airflow_synapse.action_runtime.results.result_file import take_place, write_result

TEXT = '{"result": 1}'
NAME = "airflow-synapse-result-j.json"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir(mode=0o777)
    return folder


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    file = tmp_path / "authorized_keys"
    file.write_text("mine")
    return file


def plant_socket(path: Path, _: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


PLANTED = {
    "link": lambda path, victim: path.symlink_to(victim),
    "link to nowhere": lambda path, victim: path.symlink_to(victim.with_name("new")),
    "link to itself": lambda path, _: path.symlink_to(path),
    "hard link": lambda path, victim: path.hardlink_to(victim),
    "file": lambda path, _: path.write_text('{"result": "planted"}'),
    "pipe": lambda path, _: os.mkfifo(path),
    "folder": lambda path, _: (path / "sub").mkdir(parents=True),
    "socket": plant_socket,
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
@pytest.mark.parametrize("when", ["before", "while it runs"])
def test_what_takes_the_name_is_moved_aside_untouched(
    logs, victim, monkeypatch, plant, when
) -> None:
    """Nothing is written through it, nothing of it is lost, and the reader finds the result."""
    monkeypatch.chdir(logs)  # paths of sockets are short
    file = logs / NAME
    place = JobPlace("j", logs)
    if when == "before":
        plant(Path(NAME), victim)
        planted = file.lstat()
        placeholder = take_place(place)
        assert placeholder is None
    else:
        placeholder = take_place(place)
        file.unlink()
        plant(Path(NAME), victim)
        planted = file.lstat()

    warnings = write_result(place, TEXT, placeholder)

    (aside,) = [path for path in logs.iterdir() if path != file]
    assert file.read_text() == TEXT
    assert stat.S_ISREG(file.lstat().st_mode)
    assert aside.lstat().st_ino == planted.st_ino
    assert victim.read_text() == "mine"
    assert not victim.with_name("new").exists()
    assert len(warnings) == 1
    assert str(aside) in warnings[0]


def test_names_can_not_be_foreseen(logs, monkeypatch) -> None:
    """Whatever lies at the name of the unfinished file is not written to, either."""
    monkeypatch.setattr(result_file, "urandom", bytes)
    (logs / ".airflow-synapse-0000000000000000.part").symlink_to(logs / "new")

    warnings = write_result(JobPlace("j", logs), TEXT)

    assert "the result is lost" in warnings[0]
    assert not (logs / "new").exists()
    assert (logs / ".airflow-synapse-0000000000000000.part").is_symlink()


def test_result_that_was_swapped_is_told(logs, monkeypatch) -> None:
    """Who may write to the folder can always do this, but not unnoticed while we look."""

    def swap(source: Path, target: Path) -> None:
        source.rename(target)
        if target.name == NAME:
            target.rename(logs / "stolen")
            target.write_text('{"result": "planted"}')

    monkeypatch.setattr(result_file, "rename", swap)

    assert "somebody else put" in write_result(JobPlace("j", logs), TEXT)[0]


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_who_may_read_the_log_may_read_the_result(logs, umask) -> None:
    """Whatever umask the action left, and nobody else may write to it."""
    log = logs / "job-driver-j.log"
    log.touch()
    log.chmod(0o664)
    fd = os.open(log, os.O_WRONLY)
    place = find_place(fd)
    os.close(fd)
    earlier = os.umask(umask)
    try:
        write_result(place, TEXT)
    finally:
        os.umask(earlier)

    assert stat.S_IMODE((logs / NAME).stat().st_mode) == 0o644


def test_placeholder_makes_room_for_the_result(logs) -> None:
    """Nothing is said, and nothing is left beside the result."""
    place = JobPlace("j", logs)
    placeholder = take_place(place)

    assert write_result(place, TEXT, placeholder) == []
    assert [path.name for path in logs.iterdir()] == [NAME]


def test_placeholder_that_is_gone_is_not_missed(logs) -> None:
    """Somebody may tidy the folder up while the action runs."""
    place = JobPlace("j", logs)
    placeholder = take_place(place)
    (logs / NAME).unlink()

    assert write_result(place, TEXT, placeholder) == []
    assert (logs / NAME).read_text() == TEXT


def test_only_our_own_placeholder_is_taken_away(logs) -> None:
    """What somebody else has put there stays."""
    place = JobPlace("j", logs)
    placeholder = take_place(place)
    assert placeholder
    (logs / NAME).rename(logs / "theirs")
    (logs / NAME).write_text("another")

    placeholder.withdraw()

    assert (logs / NAME).read_text() == "another"


def test_place_that_can_not_be_taken_harms_nothing(tmp_path) -> None:
    """It is only there to tell more."""
    assert take_place(JobPlace("j", tmp_path / "nowhere")) is None
    assert take_place(JobPlace(None, tmp_path)) is None
