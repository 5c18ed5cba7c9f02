"""The provider as data, as Airflow's providers manager reads it."""

from __future__ import annotations

from typing import Any

from airflow_synapse import __version__

_INTEGRATION = "Ray"

_SECRET: dict[str, Any] = {"type": ["string", "null"], "format": "password"}
"""A field whose value is masked; of one that may be an object, too, Airflow's form masks nothing."""

OPTIONS: dict[str, dict[str, Any]] = {
    "deployment": {
        "description": (
            "A name that tells this Airflow from others that use the same Ray clusters, such as prod. "
            "Jobs carry it, and so a task never takes another Airflow's job for its own. Without a name, "
            "[api] base_url serves as one, unless that is an address such as localhost. A change of it makes "
            "tasks forget the jobs that run."
        ),
        "version_added": "0.1.0",
        "example": "prod",
        "type": "string",
        "default": "",
    },
    "job_view": {
        "description": (
            'Whether task instances have a tab "Ray job" in the UI. Its pages are made by the API '
            "server, which asks the Ray cluster for them with the task's connection."
        ),
        "version_added": "0.1.0",
        "example": None,
        "type": "boolean",
        "default": "True",
    },
    "requests_per_second": {
        "description": (
            "Requests per second that one triggerer sends to one Ray cluster, its dashboard and the "
            "agents on its nodes, for all jobs it watches there. The jobs share them: with more jobs "
            "each is looked at less often. A look at one status keeps a head node busy for about 3 ms."
        ),
        "version_added": "0.1.0",
        "example": None,
        "type": "float",
        "default": "100",
    },
    "log_streams": {
        "description": (
            "Logs of jobs on one cluster that one triggerer reads at the same time; with more jobs they "
            "take turns, and no line is lost. A head node serves at most 100, to everybody."
        ),
        "version_added": "0.1.0",
        "example": None,
        "type": "integer",
        "default": "16",
    },
    "log_lines_per_second": {
        "description": (
            "Lines of one job's log that are shown in the task's log per second, on the average. Those "
            "beyond are left out, and their number and where they are is told. 0 shows all."
        ),
        "version_added": "0.1.0",
        "example": None,
        "type": "float",
        "default": "0",
    },
}
"""The options of ``[ray]`` in Airflow's configuration."""


FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["login"],
    "relabeling": {
        "host": "Dashboard host or URL",
        "port": "Dashboard port",
        "schema": "http or https",
        "password": "Token",
    },
    "placeholders": {
        "host": "head-node, or https://ray.example.com/prefix",
        "port": "8265",
        "schema": "http",
        "password": "bearer token, if the cluster asks for one",
    },
}
"""How the form of a connection names its standard fields."""


def get_provider_info() -> dict[str, Any]:
    """Return what the provider adds to Airflow. Its schema: ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-synapse",
        "name": "Synapse for Ray",
        "description": "Runs plugin actions and shell commands as Ray jobs.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://docs.ray.io/en/latest/cluster/running-applications/job-submission/",
                "tags": ["software"],
            }
        ],
        "hooks": _modules("airflow_synapse.hooks.ray_job"),
        "triggers": _modules("airflow_synapse.triggers.ray_job"),
        "operators": _modules(
            "airflow_synapse.operators.plugin_action",
            "airflow_synapse.operators.ray_job",
            "airflow_synapse.operators.house_keeping",
        ),
        "sensors": _modules("airflow_synapse.sensors.ray_job"),
        "task-decorators": [
            {"name": "ray", "class-name": "airflow_synapse.decorators.ray.ray_task"}
        ],
        # Airflow 3.2 and newer; 3.1 does not look at it.
        "cli": ["airflow_synapse.cli.definition.get_ray_cli_commands"],
        "extra-links": ["airflow_synapse.links.ray_job.RayJobLink"],
        "connection-types": [_connection_type()],
        "config": {
            "ray": {"description": "How Ray jobs are watched.", "options": OPTIONS},
        },
    }


def _modules(*names: str) -> list[dict[str, Any]]:
    return [{"integration-name": _INTEGRATION, "python-modules": list(names)}]


def _connection_type() -> dict[str, Any]:
    return {
        "connection-type": "ray",
        "hook-class-name": "airflow_synapse.hooks.ray_job.RayJobHook",
        "hook-name": "Ray",
        "ui-field-behaviour": FIELD_BEHAVIOUR,
        # The form of Airflow 3.2 and newer; on 3.1 the same keys go into Extra.
        "conn-fields": {
            "headers": _field(
                "Headers",
                _SECRET,
                'Further request headers, as JSON: {"X-Api-Key": "…"}.',
            ),
            "cookies": _field(
                "Cookies",
                _SECRET,
                'Request cookies, as JSON: {"session": "…"}.',
            ),
            "verify": _field(
                "Verify TLS",
                {"type": ["string", "null"]},
                "true (the default), false, or the path of a CA bundle on workers, triggerers and the API "
                "server.",
            ),
            "client_cert": _field(
                "Client certificate",
                {"type": ["string", "null"]},
                "Path, on workers, triggerers and the API server, of a PEM file with the certificate to "
                "show a server that asks for one, and its key if that has no file of its own.",
            ),
            "client_key": _field(
                "Client key",
                {"type": ["string", "null"]},
                "Path, on the same machines, of the PEM file with the key of the client certificate. No "
                "passphrase.",
            ),
            "request_timeout": _field(
                "Request timeout (s)",
                {"type": ["number", "null"], "default": 30},
                "Seconds that one call to the dashboard may take.",
            ),
            "dashboard_url": _field(
                "Dashboard URL for links",
                {"type": ["string", "null"]},
                "Where people reach the dashboard, if that is elsewhere.",
            ),
        },
    }


def _field(label: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"label": label, "schema": schema, "description": description}
