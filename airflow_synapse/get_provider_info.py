"""The provider's description, as Airflow's providers manager reads it."""

from __future__ import annotations

from typing import Any

from airflow_synapse import __version__

_INTEGRATION = "Ray"

_SECRET: dict[str, Any] = {"type": ["string", "null"], "format": "password"}
"""A field whose value is masked. Airflow's form would not mask a field that may also be an object."""

OPTIONS: dict[str, dict[str, Any]] = {
    "deployment": {
        "description": (
            "A name, such as prod, that distinguishes this Airflow from others that use the same Ray "
            "clusters. Jobs carry it, so a task never mistakes another Airflow's job for its own. The default "
            "is [api] base_url, unless that is an address such as localhost. If you change the name, tasks "
            "no longer find their running jobs. Two Airflows must not have the same name: each would stop "
            "the jobs of the other. So give a copy, such as a staging Airflow, a name of its own."
        ),
        "version_added": "0.1.0",
        "example": "prod",
        "type": "string",
        "default": "",
    },
    "job_view": {
        "description": (
            'Whether task instances have a tab "Ray job" in the UI. The API server builds its pages. To do '
            "so, it queries the Ray cluster with the task's connection."
        ),
        "version_added": "0.1.0",
        "example": None,
        "type": "boolean",
        "default": "True",
    },
    "requests_per_second": {
        "description": (
            "How many requests per second one process may send to one Ray cluster at most, including the "
            "agents on its nodes. Below this ceiling, the pace follows the head node: as long as its answers "
            "take about as long as at rest, more requests are sent, otherwise fewer."
        ),
        "version_added": "0.1.0",
        "example": None,
        "type": "float",
        "default": "1000",
    },
    "log_streams": {
        "description": (
            "How many job logs one triggerer reads from one cluster at the same time. With more jobs, the "
            "logs take turns and no line is lost. A head node serves at most 100 logs to all clients "
            "together."
        ),
        "version_added": "0.1.0",
        "example": None,
        "type": "integer",
        "default": "16",
    },
    "log_lines_per_second": {
        "description": (
            "How many lines per second of one job's log the task's log shows on average. It leaves out the "
            "rest and says how many lines those are and where to find them. 0 means no limit."
        ),
        "version_added": "0.1.0",
        "example": None,
        "type": "float",
        "default": "0",
    },
    "collect_interval": {
        "description": (
            "Seconds between two looks of a triggerer for jobs that nobody wants any more, because their "
            "task was marked, failed for good or was deleted while nobody watched the job. A job is stopped "
            "if two looks agree that its task is over."
        ),
        "version_added": "0.2.0",
        "example": None,
        "type": "float",
        "default": "60",
    },
    "collect_gone_after": {
        "description": (
            "Seconds for which Airflow must not know the task of a job any more, for example because its "
            "DAG run was deleted, before the job is stopped."
        ),
        "version_added": "0.2.0",
        "example": None,
        "type": "float",
        "default": "600",
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
        "password": "bearer token, if the cluster requires one",
    },
}
"""How the connection form labels its standard fields."""


def get_provider_info() -> dict[str, Any]:
    """Return what the provider adds to Airflow. The schema is ``provider_info.schema.json``."""
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
        "hooks": _modules("airflow_synapse.hooks.ray_job", "airflow_synapse.hooks.kuberay"),
        "triggers": _modules(
            "airflow_synapse.triggers.ray_job", "airflow_synapse.triggers.ray_cluster"
        ),
        "operators": _modules(
            "airflow_synapse.operators.plugin_action",
            "airflow_synapse.operators.ray_job",
            "airflow_synapse.operators.house_keeping",
        ),
        "sensors": _modules(
            "airflow_synapse.sensors.ray_job", "airflow_synapse.sensors.ray_cluster"
        ),
        "task-decorators": [
            {"name": "ray", "class-name": "airflow_synapse.decorators.ray.ray_task"}
        ],
        # For Airflow 3.2 and newer. Airflow 3.1 ignores it.
        "cli": ["airflow_synapse.cli.definition.get_ray_cli_commands"],
        "extra-links": ["airflow_synapse.links.ray_job.RayJobLink"],
        "connection-types": [_connection_type()],
        "config": {
            "ray": {"description": "Settings for jobs on Ray clusters.", "options": OPTIONS},
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
        # The form exists on Airflow 3.2 and newer. On 3.1 the same keys go into Extra.
        "conn-fields": {
            "token_file": _field(
                "Token file",
                {"type": ["string", "null"]},
                "Path of a file with the token, instead of the token itself. It is read again when it has "
                "changed or the cluster refuses the token. The file must exist on workers, triggerers and "
                "the API server.",
            ),
            "token_header": _field(
                "Token header",
                {
                    "type": ["string", "null"],
                    "enum": ["Authorization", "X-Ray-Authorization", "Proxy-Authorization", None],
                },
                "The header that carries the token: Authorization (the default), X-Ray-Authorization or "
                "Proxy-Authorization.",
            ),
            "storage_path": _field(
                "Storage path",
                {"type": ["string", "null"]},
                "A folder that all nodes of the cluster share, or a URI such as s3://bucket/ray. Jobs keep "
                "checkpoints there, and leave copies of their results.",
            ),
            "headers": _field(
                "Headers",
                _SECRET,
                'Additional request headers as JSON: {"X-Api-Key": "…"}.',
            ),
            "cookies": _field(
                "Cookies",
                _SECRET,
                'Request cookies as JSON: {"session": "…"}.',
            ),
            "verify": _field(
                "Verify TLS",
                {"type": ["string", "null"]},
                "true (the default), false, or the path of a CA bundle. The file must exist on workers, "
                "triggerers and the API server.",
            ),
            "client_cert": _field(
                "Client certificate",
                {"type": ["string", "null"]},
                "Path of a PEM file with the client certificate for servers that require one, and with its "
                "key unless that has a file of its own. The file must exist on workers, triggerers and the "
                "API server.",
            ),
            "client_key": _field(
                "Client key",
                {"type": ["string", "null"]},
                "Path of the PEM file with the key of the client certificate, on the same machines. The "
                "key must have no passphrase.",
            ),
            "request_timeout": _field(
                "Request timeout (s)",
                {"type": ["number", "null"], "default": 30},
                "How many seconds one call to the dashboard may take.",
            ),
            "dashboard_url": _field(
                "Dashboard URL for links",
                {"type": ["string", "null"]},
                "The dashboard's URL in a user's browser, if it differs.",
            ),
        },
    }


def _field(label: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"label": label, "schema": schema, "description": description}
