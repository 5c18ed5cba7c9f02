"""Reads what an Airflow connection of type ``kubernetes`` says about an API server.

Airflow's own Kubernetes provider does it, so whatever works for its operators works here: in-cluster
configuration, kubeconfig files and texts, exec plugins. It takes seconds to import, so it is imported only
where it is used, never on an event loop. Requests are sent by our own session.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from airflow_synapse.clusters.reach import Kubernetes
from airflow_synapse.exceptions import RayAddressError
from airflow_synapse.rayjobs.models import RayCluster

DEFAULT_KUBERNETES_CONN_ID = "kubernetes_default"

_loading = threading.Lock()
"""Kubernetes' client keeps what it loads in a variable of its module for a moment."""

_LONGEST_WAIT = 30.0
"""Seconds to wait until another connection is read."""

_BEARER = "Bearer "


def load_kubernetes(conn_id: str, extras: Mapping[str, Any], **options: Any) -> Kubernetes:
    """Return the Kubernetes cluster that a connection leads to. Blocks, maybe for seconds.

    :param conn_id: The connection's name.
    :param extras: Its extras.
    :param options: ``in_cluster``, ``cluster_context`` and ``config_file``, which override them.
    :raises RayAddressError: if the provider is not installed, or the configuration can't be used.
    """
    hook_class = _hook_class(conn_id)
    hook = hook_class(conn_id=conn_id, **options)
    hook.__dict__["conn_extras"] = dict(
        extras
    )  # a cached property, which would read the connection
    try:
        with _alone():
            configuration = hook.get_conn().configuration
            is_inside = bool(hook.is_in_cluster)
            # The second is its name up to version 35 of Kubernetes' client.
            token = configuration.get_api_key_with_prefix("BearerToken", "authorization") or ""
    except Exception as exc:  # of Kubernetes' client, of an exec plugin, or of the provider
        raise RayAddressError(
            address=f"connection {conn_id}",
            reason=f"its Kubernetes configuration can't be used ({type(exc).__name__}: {_first_line(exc)})",
            hint="Check the connection, its kubeconfig and the context in it.",
        ) from exc
    namespace = extras.get("namespace") or extras.get("extra__kubernetes__namespace")
    return Kubernetes(
        api=_api_of(configuration, str(token)),
        is_inside=is_inside,
        namespace=str(namespace) if namespace else None,
    )


@contextmanager
def _alone() -> Iterator[None]:
    if not _loading.acquire(timeout=_LONGEST_WAIT):
        raise TimeoutError("another connection is still being read, maybe by a program that hangs")
    try:
        yield
    finally:
        _loading.release()


def _hook_class(conn_id: str) -> Any:
    try:
        from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
    except ImportError as exc:
        raise RayAddressError(
            address=f"connection {conn_id}",
            reason="Airflow's Kubernetes provider is not installed",
            hint="Install airflow-synapse[kubernetes].",
        ) from exc
    return KubernetesHook


def _api_of(configuration: Any, token: str) -> RayCluster:
    headers = {}
    if token and not token.startswith(_BEARER):
        headers["Authorization"] = token
    elif not token and configuration.username:
        headers["Authorization"] = str(configuration.get_basic_auth_token())
    verify: bool | str = bool(configuration.verify_ssl)
    if verify and configuration.ssl_ca_cert:
        verify = str(configuration.ssl_ca_cert)
    return RayCluster(
        address=str(configuration.host).rstrip("/"),
        token=token.removeprefix(_BEARER) if token.startswith(_BEARER) else None,
        headers=headers,
        verify=verify,
        client_cert=configuration.cert_file or None,
        client_key=configuration.key_file or None,
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
