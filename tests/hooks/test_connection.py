"""What a connection says, in all the forms in which people write one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk import Connection
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse.exceptions import AirflowSynapseError, RayAddressError
from airflow_synapse.hooks.connection import RayConnection, read_connection
from airflow_synapse.rayjobs.client.addresses import parse_address


def read(extra: Any = None, **fields: Any) -> RayConnection:
    """Read a connection to ``head`` with these fields."""
    fields = {"host": "head", **fields}
    text = extra if isinstance(extra, str) else json.dumps(extra) if extra is not None else None
    return read_connection(Connection(conn_id="ray_x", conn_type="ray", extra=text, **fields))


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({}, "http://head:8265"),
        ({"port": 80}, "http://head:80"),
        ({"schema": "https", "port": 443}, "https://head:443"),
        ({"host": "head:9999"}, "http://head:9999"),
        ({"host": "head:9999", "port": 1}, "http://head:9999"),
        ({"host": " head "}, "http://head:8265"),
        ({"host": "http://head"}, "http://head"),
        ({"host": "http://head", "port": 8265}, "http://head:8265"),
        ({"host": "http://head:9999", "port": 1}, "http://head:9999"),
        ({"host": "https://ray.example.com/prefix"}, "https://ray.example.com/prefix"),
        ({"host": "https://ray.example.com/p", "port": 8443}, "https://ray.example.com:8443/p"),
        (
            {"host": "ray.example.com/prefix", "schema": "https", "port": 443},
            "https://ray.example.com:443/prefix",
        ),
        ({"host": "::1"}, "http://[::1]:8265"),
        ({"host": "fe80::1", "port": 80}, "http://[fe80::1]:80"),
        ({"host": "[::1]"}, "http://[::1]:8265"),
        ({"host": "[::1]:9999"}, "http://[::1]:9999"),
        ({"host": "http://[::1]:9999"}, "http://[::1]:9999"),
        ({"host": "127.0.0.1", "schema": ""}, "http://127.0.0.1:8265"),
    ],
)
def test_host_port_and_schema_make_the_address(fields: dict[str, Any], url: str) -> None:
    """Host may be a name, an address of either kind or a whole URL; what is missing is usual."""
    connection = read(**fields)

    assert connection.cluster.address == url
    assert connection.dashboard_url == url
    assert parse_address(url) == url


@pytest.mark.parametrize("uri", ["ray://:t0ken@head:9999", "ray://head:9999/?verify=false"])
def test_connection_as_a_uri(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection in an environment variable's short form is the same connection."""
    monkeypatch.setenv("AIRFLOW_CONN_RAY_X", uri)
    connection = read_connection(Connection.get("ray_x"))

    assert connection.cluster.address == "http://head:9999"
    assert (connection.cluster.token, connection.cluster.verify) in [("t0ken", True), (None, False)]


def test_connection_of_astro_provider_ray() -> None:
    """A connection written for astro-provider-ray works as it is."""
    connection = read(
        {
            "address": "http://head:8265",
            "headers": '{"Authorization": "Basic x"}',
            "cookies": {"session": "c"},
            "verify": False,
            "create_cluster_if_needed": False,
        },
        host=None,
    )

    assert connection.cluster.address == "http://head:8265"
    assert connection.cluster.headers == {"Authorization": "Basic x"}
    assert connection.cluster.cookies == {"session": "c"}
    assert connection.cluster.verify is False


@pytest.mark.parametrize("host", [None, "", " "])
def test_connection_without_an_address_is_refused(host: str | None) -> None:
    """The error names the connection and where the address may stand."""
    with pytest.raises(RayAddressError, match=r"connection ray_x.*neither a host nor an extra"):
        read({}, host=host)


@pytest.mark.parametrize(
    ("value", "verify"),
    [
        (None, True),
        ("", True),
        (True, True),
        (False, False),
        (0, False),
        ("true", True),
        ("False", False),
        (" no ", False),
        ("off", False),
        ("1", True),
        ("/etc/ssl/ca.pem", "/etc/ssl/ca.pem"),
    ],
)
def test_verify_as_people_write_it(value: object, verify: bool | str) -> None:
    """True unless it is said otherwise; anything that is no yes or no is a path."""
    assert read({"verify": value}).cluster.verify == verify


@pytest.mark.parametrize(("value", "seconds"), [(None, 30.0), ("", 30.0), (5, 5.0), ("2.5", 2.5)])
def test_request_timeout_as_people_write_it(value: object, seconds: float) -> None:
    """A number or its text; 30 seconds if nothing is said."""
    assert read({"request_timeout": value}).cluster.request_timeout == seconds


@pytest.mark.parametrize("value", [0, -1, "soon", "nan", "inf", [5]])
def test_request_timeout_that_is_none_is_refused(value: object) -> None:
    """A request that could never succeed, or never end, is refused, naming the extra."""
    with pytest.raises(RayAddressError, match=r"connection ray_x.*'request_timeout'"):
        read({"request_timeout": value})


@pytest.mark.parametrize("key", ["headers", "cookies"])
@pytest.mark.parametrize("value", ["{s3cret", "[1]", ["s3cret"], 7, '"s3cret"'])
def test_headers_that_are_none_are_refused_without_their_value(key: str, value: object) -> None:
    """A broken extra is named; what it holds may be a secret."""
    with pytest.raises(RayAddressError, match=rf"'{key}' is not a JSON object") as caught:
        read({key: value})

    assert "s3cret" not in str(caught.value)


def test_values_of_headers_become_text() -> None:
    """A number in a header is sent as its text."""
    assert read({"headers": {"X-Tenant": 7}}).cluster.headers == {"X-Tenant": "7"}


def test_people_may_reach_the_dashboard_elsewhere() -> None:
    """Links lead to ``dashboard_url``; the API is asked at the host."""
    connection = read({"dashboard_url": "https://ray.example.com/ui/"})

    assert connection.cluster.address == "http://head:8265"
    assert connection.job_page("a b/c") == "https://ray.example.com/ui/#/jobs/a%20b%2Fc"


def test_links_hold_no_credentials() -> None:
    """Who may see a link need not know the password that somebody wrote into the address."""
    connection = read({"dashboard_url": "https://user:planted@ray.example.com/ui"})

    assert connection.job_page("j") == "https://ray.example.com/ui/#/jobs/j"


def test_secrets_stay_out_of_its_repr() -> None:
    """Whoever prints a connection sees no password, header or cookie."""
    extra = {"headers": {"X-Key": "s3cret"}, "cookies": {"session": "s3cret"}}

    assert "s3cret" not in repr(read(extra, password="s3cret"))


SECRET = "planted-4711"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=5,
)
keys = st.sampled_from(
    ["headers", "cookies", "verify", "request_timeout", "dashboard_url", "address", "x"]
)
secrets = st.sampled_from([{"X": SECRET}, json.dumps({"X": SECRET}), SECRET, [SECRET], {SECRET: 1}])
extras = json_values | st.builds(
    lambda extra, headers, cookies: {**extra, "headers": headers, "cookies": cookies},
    st.dictionaries(keys, json_values, max_size=5),
    secrets,
    secrets,
)
hosts = st.none() | st.text(max_size=30) | st.sampled_from(["http://[", "http://h:x", "a://b@c:1"])


@given(extras, hosts, st.none() | st.integers(-1, 70_000))
def test_whatever_stands_in_a_connection(extra: Any, host: str | None, port: int | None) -> None:
    """Any connection can be used, or the error is one of ours and repeats no value of an extra."""
    text = extra if isinstance(extra, str) else json.dumps(extra)
    conn = Connection(conn_id="ray_x", conn_type="ray", host=host, port=port, extra=text)

    try:
        connection = read_connection(conn)
        parse_address(connection.cluster.address)
    except AirflowSynapseError as exc:
        told = str(exc)
    else:
        told = repr(connection)

    assert SECRET not in told


def test_token_may_come_from_a_file_and_go_into_another_header() -> None:
    """Both extras reach the cluster; without them the password goes into the usual header."""
    extra = {"token_file": "/var/run/token", "token_header": "X-Ray-Authorization"}

    cluster, usual = read(extra).cluster, read(password="t0ken").cluster

    assert (cluster.token_file, cluster.token_header) == ("/var/run/token", "X-Ray-Authorization")
    assert (usual.token_file, usual.token_header) == (None, "Authorization")
    assert cluster.has_token
    assert usual.has_token
    assert not read().cluster.has_token
