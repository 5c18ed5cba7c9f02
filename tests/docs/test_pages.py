"""What the pages say is what the code has."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk import BaseOperator, BaseSensorOperator

from airflow_synapse import exceptions
from airflow_synapse.get_provider_info import OPTIONS, get_provider_info
from airflow_synapse.hooks.cluster_ref import CLUSTER_FIELDS
from airflow_synapse.operators.base import RayJobOperator
from airflow_synapse.operators.house_keeping import DeleteRayJobsOperator
from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator
from airflow_synapse.operators.ray_job import SubmitRayJobOperator
from airflow_synapse.operators.retry_policy import RayJobRetryPolicy, is_worth_a_retry
from airflow_synapse.rayjobs import reporting as metrics
from airflow_synapse.rayjobs.job.failures import CAUSES
from airflow_synapse.rayjobs.ray_versions import OLDEST_RAY
from airflow_synapse.sensors.ray_job import RayJobSensor

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "benchmarks" / "README.md"]
    if "_build" not in path.parts
)
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]

each_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```|`[^`\n]+`", "", text, flags=re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


def table(page: Path, first: str) -> list[list[str]]:
    """The rows of the table whose first column has this heading, cell by cell."""
    rows: list[list[str]] = []
    is_inside = False
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith(f"| {first} |"):
            is_inside = True
        elif is_inside and line.startswith("|"):
            rows.append(cells)
        elif is_inside:
            break
    return rows[1:]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def resolve(dotted: str) -> Any:
    """Return what a dotted name means.

    :raises AttributeError: if it means nothing.
    """
    parts = dotted.split(".")
    for number in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:number]))
        except ModuleNotFoundError:
            continue
        for name in parts[number:]:
            found = getattr(found, name)
        return found
    raise AttributeError(dotted)


def names_without_a_meaning(dotted_names: set[str]) -> Iterator[str]:
    for dotted in sorted(dotted_names):
        try:
            resolve(dotted)
        except AttributeError:
            yield dotted


@each_page
def test_names_mean_something(page: Path) -> None:
    """Every dotted name of this package in a page can be imported."""
    found = set(re.findall(r"(?<![\w/.-])airflow_synapse(?:\.[A-Za-z_]\w*)+", page.read_text()))

    assert not list(names_without_a_meaning(found))


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of this repository finds the file, and the heading in it."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)

    assert broken == []


@each_page
def test_included_examples_are_there(page: Path) -> None:
    """Every included file exists and has the lines that the page asks for."""
    found = re.findall(
        r"^```\{(?:literal)?include\} (\S+)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
    )

    for name, options in found:
        text = (page.parent / name).read_text()
        for marker in re.findall(r"^:(?:start|end)-\w+: \"?(.+?)\"?$", options, re.MULTILINE):
            assert marker in text


@each_page
def test_python_in_pages_calls_what_there_is(page: Path) -> None:
    """Python blocks compile, import what exists, and give our classes arguments that they take."""
    ours = {
        kind.__name__: kind
        for kind in (SubmitPluginActionOperator, SubmitRayJobOperator, RayJobSensor)
    }
    for block in blocks(page.read_text(), "python"):
        tree = ast.parse(block)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("airflow_synapse"):
                names = {f"{node.module}.{name.name}" for name in node.names}
                assert not list(names_without_a_meaning(names))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                kind = ours.get(node.func.id)
                given = {word.arg for word in node.keywords if word.arg} if kind else set()
                assert not given - (arguments(kind) if kind else set())


def arguments(kind: type) -> set[str]:
    """All arguments of an operator, those of its bases included."""
    bases = [base for base in kind.__mro__ if "__init__" in vars(base) and base is not object]
    return {name for base in bases for name in inspect.signature(base.__init__).parameters}


def own_arguments(*kinds: type) -> set[str]:
    """Those that Airflow's own operators do not have."""
    theirs = arguments(BaseOperator) | arguments(BaseSensorOperator)
    return {name for kind in kinds for name in arguments(kind)} - theirs - {"self", "kwargs"}


@each_page
def test_no_page_installs_what_is_not_published(page: Path) -> None:
    """The package is on no index, where somebody else may take its name."""
    assert not re.search(r"pip install\s+['\"]?airflow[-_]synapse", page.read_text())


def test_constraints_hold_versions_only() -> None:
    """Every line names a package and its version, for some Pythons maybe, and no index."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = re.compile(r"[a-z0-9.-]+==[\w.+]+( ; python_(full_)?version (<|>=) \"3[.\d]+\")?")

    assert [line for line in lines if not line.startswith("#") and not pinned.fullmatch(line)] == []


def test_every_page_is_in_the_contents() -> None:
    """A page that no table of contents names is found by nobody."""
    for index in DOCS.rglob("index.md"):
        listed = set(" ".join(re.findall(r"^[\w/-]+$", index.read_text(), re.MULTILINE)).split())
        pages = {path.stem for path in index.parent.glob("*.md")} - {"index"}
        assert pages - listed == set()


def test_requirements_are_those_of_the_package() -> None:
    """The table of requirements has the versions and dependencies that the package declares."""
    project = (ROOT / "pyproject.toml").read_text()
    told = dict(table(DOCS / "index.md", "what"))
    declared = re.findall(
        r'^    "([a-z-]+(?:\[default\])?)>=', project[: project.index("[project.opt")], re.M
    )
    oldest, above = re.findall(r'requires-python = ">=(3\.\d+),<3\.(\d+)"', project)[0]

    assert told["Python, where Airflow runs"] == f"{oldest} to 3.{int(above) - 1}"
    assert "apache-airflow>=" + told["Airflow"].split()[0] in project
    assert told["Ray, on the cluster"].startswith(OLDEST_RAY.removesuffix(".0") + " and newer")
    assert sorted(quoted(told["installed along"])) == sorted({*declared} - {"apache-airflow"})
    assert quoted(told["with the extra `openlineage`"])[0] in project


@each_page
def test_python_in_the_docs_is_an_included_example(page: Path) -> None:
    """What a page shows of Python is a file that tests run; only README has some of its own."""
    if page.is_relative_to(DOCS):
        assert blocks(page.read_text(), "python") == []


def test_retry_policy_is_told_to_be_for_tasks_that_submit() -> None:
    """A sensor has no ``retry_user_errors``, and its retries bring no new job: nothing promises it."""
    assert "retry_user_errors" in arguments(SubmitRayJobOperator)
    assert "retry_user_errors" not in arguments(RayJobSensor)
    assert "not for sensors" in inspect.cleandoc(RayJobRetryPolicy.__doc__ or "")
    assert "tasks that submit the job" in (DOCS / "failures.md").read_text()


def test_settings_are_the_provider_s() -> None:
    """The table of settings has the options of ``[ray]`` with their defaults."""
    told = {quoted(name)[0]: default for name, default, _ in table(DOCS / "scale.md", "option")}

    assert told == {name: option["default"] for name, option in OPTIONS.items()}


def test_metrics_are_those_that_are_sent() -> None:
    """The table of metrics has all names."""
    told = {quoted(name)[0] for name, *_ in table(DOCS / "scale.md", "name")}

    assert told == {
        value
        for name, value in vars(metrics).items()
        if name.isupper() and isinstance(value, str) and value.startswith("ray.")
    }


def test_connection_s_extras_are_the_form_s() -> None:
    """The table of the connection has every extra that there is a field for."""
    (connection,) = get_provider_info()["connection-types"]
    for page in (DOCS / "connection.md", ROOT / "README.md"):
        cells = [name for name, _ in table(page, "field") if name.startswith("extra")]
        told = {word for cell in cells for word in quoted(cell)}

        assert told == set(connection["conn-fields"])


def test_files_of_a_connection_are_told_to_be_on_the_api_server() -> None:
    """Form and pages name the API server among those that need a connection's files."""
    (connection,) = get_provider_info()["connection-types"]
    fields = connection["conn-fields"]

    for name in ("verify", "client_cert"):
        assert "API server" in fields[name]["description"]
    for page in ("connection.md", "security.md", "ray-view.md"):
        assert re.search(r"API\s+server", (DOCS / page).read_text())


def test_errors_are_drawn_as_in_the_code() -> None:
    """The tree of errors in the page is the one in the module's docstring, which a test holds true."""
    (tree,) = blocks((DOCS / "failures.md").read_text(), "text")

    assert tree.strip() in inspect.cleandoc(exceptions.__doc__ or "").replace("\n    ", "\n")


def test_errors_of_jobs_are_those_of_the_code() -> None:
    """The table of causes has Ray's error types with our errors."""
    told = {
        cause: quoted(error)[0]
        for causes, error in table(DOCS / "failures.md", "Ray's `error_type`")
        for cause in quoted(causes)
    }

    assert told == {cause: kind.__name__ for cause, kind in CAUSES.items()}


def test_retries_are_those_of_the_policy() -> None:
    """What the page says of another try is what the policy decides."""
    rows = table(DOCS / "failures.md", "the error")

    assert len(rows) == 4
    for errors, verdict in rows[:3]:
        for name in quoted(errors):
            kind = getattr(exceptions, name)
            assert is_worth_a_retry(kind.__new__(kind)) is verdict.startswith("yes"), name
    assert is_worth_a_retry(exceptions.RayJobTimeoutError()) is None


def test_operators_arguments_are_all_told() -> None:
    """The table of arguments has every one, and says which are templated."""
    rows = table(DOCS / "operators.md", "argument")
    told = {name: templated for cell, _, templated, _ in rows for name in quoted(cell)}
    kinds = (SubmitPluginActionOperator, SubmitRayJobOperator)
    templates = {name for kind in kinds for name in kind.template_fields}

    # Airflow's operators have an argument `resources` as well, which means another thing, so it is
    # none of our own.
    assert set(told) - {"resources"} == own_arguments(*kinds)
    for name, templated in told.items():
        field = "custom_resources" if name == "resources" else name
        hidden = field in RayJobOperator.hidden_template_fields
        assert templated == ("hidden" if hidden else "yes" if field in templates else "no"), name


def test_arguments_of_house_keeping_are_all_told() -> None:
    """The table has what the operator has beside those that all have."""
    told = {quoted(name)[0] for name, *_ in table(DOCS / "house_keeping.md", "argument")}

    assert told == own_arguments(DeleteRayJobsOperator) - {*CLUSTER_FIELDS, "unreachable_timeout"}


def test_changelog_fragments_have_a_type() -> None:
    """Towncrier leaves a fragment out in silence if its type is unknown."""
    project = (ROOT / "pyproject.toml").read_text()
    types = set(re.findall(r'towncrier\.type\]\]\ndirectory = "(\w+)"', project))
    fragments = {*(ROOT / "changelog.d").glob("*.md")}
    fragments -= {ROOT / "changelog.d" / name for name in ("README.md", "template.md")}

    assert {path.name.split(".")[1] for path in fragments} <= types
    assert {"added", "changed", "fixed"} <= types


def test_plugin_in_the_readme_is_the_example() -> None:
    """README shows the files of ``plugins/hello`` as they are."""
    readme = (ROOT / "README.md").read_text()
    plugin = ROOT / "dags_examples" / "plugins" / "hello"

    assert (plugin / "config.yaml").read_text() in blocks(readme, "yaml")
    assert (plugin / "hello.py").read_text() in blocks(readme, "python")
    assert yaml.safe_load((plugin / "config.yaml").read_text())["name"] == "hello"
