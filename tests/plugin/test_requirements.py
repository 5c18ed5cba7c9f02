"""A requirements file as lines for the cluster."""

from __future__ import annotations

import codecs
import textwrap
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse.exceptions import PluginManifestError, PluginRequirementsError
from airflow_synapse.plugin.requirements import check_lines, read_requirements
from airflow_synapse.plugin.uploaded_paths import uploaded_paths

UPLOADED = "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"


def write(folder: Path, text: str, name: str = "requirements.txt") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(textwrap.dedent(text).encode())
    return path


def lines_of(folder: Path, text: str) -> list[str]:
    return list(read_requirements(write(folder, text), plugin_root=folder))


def project(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text("[project]\nname = 'pkg'\nversion = '1'\n")


def test_comments_continuations_and_markers_are_read_as_pip_reads_them(tmp_path):
    """What pip would not see is gone, what it would join is joined."""
    text = """\
        # a comment

        numpy>=1.26  # why
        pandas[performance] >=2 , <3 ; python_version < "3.13"
        requests \\
            ==2.32.0 \\
            --hash=sha256:aa \\
            --hash=sha256:bb
        url @ https://host/a#egg=b
        git+https://host/repo.git@main#egg=thing
        """

    assert lines_of(tmp_path, text) == [
        "numpy>=1.26",
        'pandas[performance] >=2 , <3 ; python_version < "3.13"',
        "requests     ==2.32.0 --hash=sha256:aa --hash=sha256:bb",
        "url @ https://host/a#egg=b",
        "git+https://host/repo.git@main#egg=thing",
    ]


def test_options_become_a_line_each_with_their_long_names(tmp_path):
    """Abbreviations and several options in one line, as pip takes them."""
    text = """\
        -i https://a/simple --extra-index-url=https://${USER}:${PASS}@b/simple
        --extra-index https://c/simple
        --no-index --pre
        --only-binary :all:
        --trusted-host a
        -fhttps://d/links
        --find-links /opt/wheels-of-the-cluster
        """

    assert lines_of(tmp_path, text) == [
        "--index-url https://a/simple",
        "--extra-index-url https://${USER}:${PASS}@b/simple",
        "--extra-index-url https://c/simple",
        "--no-index",
        "--pre",
        "--only-binary :all:",
        "--trusted-host a",
        "--find-links https://d/links",
        "--find-links /opt/wheels-of-the-cluster",
    ]


def test_other_requirements_files_are_read_in_place(tmp_path):
    """-r is followed from the file it stands in, in any form pip takes."""
    write(tmp_path, "b\n-r deeper/c.txt\n", "more/b.txt")
    write(tmp_path, "c\n", "more/deeper/c.txt")
    write(tmp_path, "d\n", "d.txt")

    found = lines_of(tmp_path, "a\n-rmore/b.txt\n--requirement=d.txt\n-r https://host/e.txt\n")

    assert found == ["a", "b", "c", "d", "--requirement https://host/e.txt"]


def test_files_of_the_plugin_are_named_where_ray_unpacks_them(tmp_path):
    """Paths inside the plugin folder work on the cluster, wherever it unpacks the folder."""
    project(tmp_path / "libs" / "pkg")
    write(tmp_path, "numpy<2\n", "constraints.txt")
    write(tmp_path, "", "vendor/x-1.0-py3-none-any.whl")
    inside = tmp_path / "libs" / "pkg"
    text = f"""\
        -c constraints.txt
        ./libs/pkg
        libs/pkg[fast] ; python_version > "3"
        -e ./libs/pkg
        {inside}
        file://{inside}
        pkg @ file://{inside}
        vendor/x-1.0-py3-none-any.whl
        --find-links vendor
        {UPLOADED}/vendor/x-1.0-py3-none-any.whl
        """

    assert lines_of(tmp_path, text) == [
        f"--constraint {UPLOADED}/constraints.txt",
        f"{UPLOADED}/libs/pkg",
        f'{UPLOADED}/libs/pkg[fast] ; python_version > "3"',
        f"pkg @ file://{UPLOADED}/libs/pkg",
        f"{UPLOADED}/vendor/x-1.0-py3-none-any.whl",
        f"--find-links {UPLOADED}/vendor",
    ]


def test_the_plugin_itself_can_be_a_requirement(tmp_path):
    """-e . installs the uploaded folder; not editable, as Ray may remove the folder."""
    project(tmp_path / "plugin")

    assert lines_of(tmp_path / "plugin", "-e .[dev]\n") == [f"{UPLOADED}[dev]"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (codecs.BOM_UTF8 + b"numpy\r\n\r\nscipy\r\n", ["numpy", "scipy"]),
        (codecs.BOM_UTF16_LE + "numpy\nscipy".encode("utf-16-le"), ["numpy", "scipy"]),
        (codecs.BOM_UTF16_BE + "numpy".encode("utf-16-be"), ["numpy"]),
        (b"# -*- coding: latin-1 -*-\nnumpy # f\xfcr\n", ["numpy"]),
        ("numpy # für\n".encode(), ["numpy"]),
        (b"", []),
    ],
)
def test_encodings_are_read_as_pip_reads_them(tmp_path, data, expected):
    """A byte order mark or a coding comment decides, else it is UTF-8."""
    path = tmp_path / "requirements.txt"
    path.write_bytes(data)

    assert list(read_requirements(path, plugin_root=tmp_path)) == expected


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("numpy\n\nfoo bar\n", 3, ["'foo bar'"]),
        ("a \\\n  ==\n", 1, ["a"]),
        ("numpy==\n", 1, ["numpy=="]),
        ("numpy ; python_versoin > '3'\n", 1, ["python_versoin"]),
        ("https://host/x.whl ; nonsense\n", 1, ["nonsense"]),
        ("--extra-index-ulr https://a\n", 1, ["--extra-index-ulr", "no such option"]),
        ("--index-url\n", 1, ["--index-url"]),
        ("--no-index https://a\n", 1, ["https://a"]),
        ("numpy --extra-index-url https://a\n", 1, ["no such option"]),
        ("--find-links 'a\n", 1, ["quotation"]),
        ("./no-such\n", 1, ["no-such", "does not exist"]),
        ("x-1.0-py3-none-any.whl\n", 1, ["does not exist"]),
        ("-c no-such.txt\n", 1, ["does not exist"]),
        ("--find-links ./no-such\n", 1, ["does not exist"]),
        ("./empty\n", 1, ["neither pyproject.toml nor setup.py"]),
        ("-c ../outside.txt\n", 1, ["not inside the plugin folder", "Only the plugin folder"]),
        ("../outside.whl\n", 1, ["not inside the plugin folder"]),
        ("x @ file:///etc/hostname\n", 1, ["not inside the plugin folder"]),
        ("-r requirements.txt\n", 1, ["includes itself"]),
        ("-e numpy\n", 1, ["only a folder with a project"]),
        ("-e https://host/x.zip\n", 1, ["only a folder with a project"]),
        ("-e ./requirements.txt\n", 1, ["only a folder with a project"]),
        ("-e ./empty\n", 1, ["neither pyproject.toml nor setup.py"]),
    ],
)
def test_line_that_can_not_work_is_refused_with_its_number(tmp_path, text, line, told):
    """The error names file, line, what it says and why."""
    folder = tmp_path / "plugin"
    (folder / "empty").mkdir(parents=True)
    for name in ("outside.txt", "outside.whl"):
        (tmp_path / name).touch()

    with pytest.raises(PluginRequirementsError) as caught:
        lines_of(folder, text)

    for part in [f"requirements.txt:{line}: ", *told]:
        assert part in str(caught.value)


def test_files_that_include_each_other_are_refused(tmp_path):
    """A circle is told where it closes."""
    write(tmp_path, "-r requirements.txt\n", "b.txt")

    with pytest.raises(PluginRequirementsError, match=r"b\.txt:1.*includes itself"):
        lines_of(tmp_path, "-r b.txt\n")


def test_file_missing_in_a_file_is_told(tmp_path):
    """The error names the file that is not there."""
    with pytest.raises(PluginRequirementsError, match=r"c\.txt: it can't be read"):
        lines_of(tmp_path, "-r c.txt\n")


def test_file_in_no_known_encoding_is_told(tmp_path):
    """Bytes that are no text are not guessed at."""
    path = tmp_path / "requirements.txt"
    path.write_bytes(b"numpy # f\xfcr\n")

    with pytest.raises(PluginManifestError, match="not valid utf-8"):
        read_requirements(path, plugin_root=tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "--index-ulr https://me:hunter2@host/simple\n",
        "https://me:hunter2@host/x.whl ; nonsense\n",
        "foo bar @ https://hunter2@host/x.whl\n",
        "--pre https://me:hunter2@host\n",
    ],
)
def test_errors_show_no_credentials(tmp_path, text):
    """What stands before the @ of a URL is masked."""
    with pytest.raises(PluginRequirementsError) as caught:
        lines_of(tmp_path, text)

    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert "****@host" in str(caught.value)


def test_without_a_plugin_folder_local_paths_are_refused(tmp_path):
    """With a remote working_dir nothing of this machine is uploaded."""
    project(tmp_path / "pkg")
    path = write(tmp_path, "numpy\n./pkg\n")

    with pytest.raises(PluginRequirementsError, match="not inside the plugin folder"):
        read_requirements(path, plugin_root=None)


@given(st.text(alphabet="ab-= \\#\n\r\"'/.;@[]{}$:é", max_size=60))
def test_any_text_is_read_or_refused_in_our_words(tmp_path_factory, text):
    """No content ends in an exception that is not ours; each line stays one line."""
    folder = tmp_path_factory.mktemp("plugin")
    path = folder / "requirements.txt"
    path.write_bytes(text.encode())

    try:
        lines = read_requirements(path, plugin_root=folder)
    except PluginRequirementsError as exc:
        assert "requirements.txt" in str(exc) or ": it can't be read" in str(exc)  # noqa: PT017  # refusing is fine
    else:
        assert all(line.strip() and "\n" not in line for line in lines)


def test_paths_with_any_sign_are_urls(tmp_path):
    """Of spaces, quotes and the like pip and uv would make something else."""
    project(tmp_path / "libs" / "my lib")
    write(tmp_path, "numpy<2\n", "my constraints.txt")
    write(tmp_path, "", "rä#der;/x-1.0-py3-none-any.whl")
    write(tmp_path, "a\n", "more lines.txt")
    text = """\
        -c "my constraints.txt"
        -r 'more lines.txt'
        ./libs/my lib
        ./libs/my lib[fast] ; python_version > "3"
        -e "./libs/my lib"
        pkg @ file://{}/libs/my%20lib
        ./rä#der;/x-1.0-py3-none-any.whl
        --find-links rä#der;
        """.replace("{}", str(tmp_path)).replace("./rä#der;/x", "rä%23der;/x")
    text = text.replace("rä%23der;/x", f"file://{tmp_path}/rä%23der%3B/x")

    lines = lines_of(tmp_path, text)

    assert lines == [
        f"--constraint file://{UPLOADED}/my%20constraints.txt",
        "a",
        f"file://{UPLOADED}/libs/my%20lib",
        f'{UPLOADED}/libs/my lib[fast] ; python_version > "3"',
        f"pkg @ file://{UPLOADED}/libs/my%20lib",
        f"file://{UPLOADED}/r%C3%A4%23der%3B/x-1.0-py3-none-any.whl",
        f"--find-links file://{UPLOADED}/r%C3%A4%23der%3B",
    ]
    named = {path for line in lines for path in uploaded_paths(line)}
    assert named == {
        "my constraints.txt",
        "libs/my lib",
        "rä#der;/x-1.0-py3-none-any.whl",
        "rä#der;",
    }


OWN = f"{UPLOADED}/wheels/own-1.0-py3-none-any.whl"
HASHED = "idna==3.2 --hash=sha256:aa"


@pytest.mark.parametrize(
    ("manager", "lines", "told"),
    [
        ("pip", [HASHED, OWN], "have no hash: wheels/own-1.0-py3-none-any.whl"),
        ("pip", [HASHED, UPLOADED], "have no hash: the plugin itself"),
        ("pip", [HASHED, "six==1", "a ; python_version > '3'"], "hash: six==1, a ; python_version"),
        ("pip", [HASHED, "x @ https://u:secret@host/x.zip"], r"x @ https://\*\*\*\*@host/x.zip"),
        ("pip", [HASHED, "--editable git+https://host/x#egg=x"], "no hash: --editable git"),
        ("pip", [HASHED, "six>=1 --hash=sha256:aa"], "not pinned with ==: six>=1"),
        ("pip", ["--require-hashes", "six==1"], "have no hash: six==1"),
        ("uv", ["--require-hashes", HASHED, "six==1"], "so uv refuses those that have no hash"),
    ],
)
def test_line_without_a_hash_among_hashes_is_told(manager, lines, told):
    """pip takes all or none, and would say so on the cluster."""
    with pytest.raises(PluginRequirementsError, match=told) as caught:
        check_lines(lines, manager=manager)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("manager", "lines"),
    [
        ("pip", [HASHED, f"{OWN} --hash=sha256:bb", "# a comment", "--pre", f" -r {UPLOADED}/r"]),
        ("pip", ["six==1", OWN, UPLOADED]),
        ("pip", [HASHED, "x @ https://host/x.zip --hash=sha256:aa"]),
        ("uv", [HASHED, OWN, UPLOADED, "six>=1"]),
    ],
)
def test_hashes_for_all_or_for_none_are_taken(manager, lines):
    """And with uv a mixture, as it checks the hashes that there are."""
    check_lines(lines, manager=manager)


@pytest.mark.parametrize(
    "line", ["./libs/a", "libs/a[x] ; python_version > '3'", "x.whl", "-r r.txt", "-e .", "-f w"]
)
def test_path_of_this_machine_in_a_list_is_told(line):
    """Ray installs in an empty folder, where nothing is beside the lines."""
    with pytest.raises(PluginRequirementsError, match="is a path on this machine"):
        check_lines(["numpy", line], manager="pip")


@pytest.mark.parametrize(
    "line",
    [
        "/opt/x.whl",
        "${HOME}/x.whl",
        "git+https://a/b",
        "a @ file:///opt/a",
        "--find-links /opt/w",
        f"-c {UPLOADED}/c.txt",
        "a==1 --hash=sha256:aa",
        "https://a/b.zip",
        "not a line!",
        "-x y",
    ],
)
def test_place_that_the_cluster_may_have_is_left_to_it(line):
    """Nobody here can know."""
    check_lines([line], manager="uv")


def test_link_to_itself_is_no_requirements_file(tmp_path):
    """It is told as any file that can't be read."""
    (tmp_path / "loop.txt").symlink_to("loop.txt")

    with pytest.raises(PluginRequirementsError, match=r"loop\.txt: it can't be read"):
        lines_of(tmp_path, "-r loop.txt\n")
