"""The provider as Airflow sees it."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import airflow
import jsonschema
import pytest
from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

from airflow_synapse.get_provider_info import get_provider_info


def test_entry_point_leads_here() -> None:
    """Airflow finds the provider by its entry point."""
    (entry,) = [
        entry
        for entry in entry_points(group="apache_airflow_provider")
        if entry.dist is not None and entry.dist.name == "airflow-synapse"
    ]

    assert entry.load() is get_provider_info


def test_schema_of_airflow_accepts_it() -> None:
    """The provider info is what Airflow's own schema asks for."""
    schema = Path(airflow.__file__).parent / "provider_info.schema.json"

    jsonschema.validate(get_provider_info(), json.loads(schema.read_text()))


@pytest.mark.parametrize("kind", ["hooks", "operators", "sensors", "triggers"])
def test_named_modules_exist(kind: str) -> None:
    """Every module that the provider names can be imported."""
    names = [name for entry in get_provider_info()[kind] for name in entry["python-modules"]]

    assert [import_module(name).__name__ for name in names] == names


def test_named_classes_exist() -> None:
    """The hook and the link that the provider names are there, and the hook names its type."""
    info = get_provider_info()
    (connection,) = info["connection-types"]
    classes = [connection["hook-class-name"], *info["extra-links"]]

    hook, link = [getattr(import_module(m), c) for m, _, c in (n.rpartition(".") for n in classes)]

    assert hook.conn_type == connection["connection-type"] == "ray"
    assert hook.hook_name == connection["hook-name"]
    assert link().name == "Ray job"


def test_form_hides_secrets() -> None:
    """Fields of the connection form that hold secrets are sensitive."""
    (connection,) = get_provider_info()["connection-types"]

    fields = connection["conn-fields"]

    secrets = {n: f for n, f in fields.items() if f["schema"].get("format") == "password"}
    assert set(secrets) == {"headers", "cookies"}
    for field in secrets.values():  # Airflow's UI shows values of more than one type as they are
        assert field["schema"]["type"] == ["string", "null"]


@pytest.mark.skipif(airflow.__version__ == "3.1.0", reason="its form has no labels of providers")
def test_form_has_labels_of_its_own() -> None:
    """Every Airflow that we support shows Ray's names for a connection's fields."""
    (form,) = [each for each in HookMetaService.hook_meta_data() if each.connection_type == "ray"]

    fields = form.standard_fields
    assert fields is not None
    assert fields.host.title == "Dashboard host or URL"
    assert fields.port.placeholder == "8265"
    assert fields.login.hidden
