"""Files that look like secrets are not sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_synapse.exceptions import PluginManifestError
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.packing.packages import build_directory_package

BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n"
PEM = f"-----BEGIN PRIVATE KEY-----\n{BODY}-----END PRIVATE KEY-----\n"
CERTIFICATE = f"-----BEGIN CERTIFICATE-----\n{BODY}-----END CERTIFICATE-----\n"


def folder(root: Path, name: str, text: str = "x") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return root


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        "conf/.env",
        "credentials",
        "credentials.json",
        "a/Credentials.CSV",
        "credentials-prod",
        "id_rsa",
        "id_ed25519",
        ".ssh/id_ecdsa_sk",
        "id_deploy",
        "id_rsa.pem",
        "id_rsa.old",
    ],
)
def test_file_that_is_named_as_a_secret_is_refused(tmp_path: Path, name: str) -> None:
    """The error names it, and the two ways out."""
    folder(tmp_path, name)

    with pytest.raises(PluginManifestError) as caught:
        build_directory_package(tmp_path)

    assert str(caught.value).startswith(f"{tmp_path / name}: it would be sent ")
    assert "list it in .gitignore or .rayignore" in str(caught.value)
    assert f'include: ["{name}"]' in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        PEM,
        PEM.replace("PRIVATE", "RSA PRIVATE"),
        PEM.replace("PRIVATE", "ENCRYPTED PRIVATE"),
        PEM.replace("PRIVATE", "OPENSSH PRIVATE"),
        PEM.replace("PRIVATE KEY", "PGP PRIVATE KEY BLOCK"),
        PEM.replace("\n", "\r\n"),
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nabc",
        '{"private_key": "' + PEM.replace("\n", "\\n") + '"}',
        "tls:\n  key: |\n    " + PEM.replace("\n", "\n    "),
        "KEY=" + PEM.replace("\n", " "),
        CERTIFICATE * 200 + PEM,
    ],
)
def test_private_key_is_refused_whatever_its_file_is_called(tmp_path: Path, text: str) -> None:
    """Also inside of JSON and YAML, and behind a chain of certificates."""
    folder(tmp_path, "conf/tls.txt", text)

    with pytest.raises(PluginManifestError, match=r"conf/tls\.txt: .* it contains a private key"):
        build_directory_package(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ca.pem", CERTIFICATE),
        ("key.pub", PEM.replace("PRIVATE", "PUBLIC")),
        ("find.py", 'if "-----BEGIN PRIVATE KEY-----" in text:\n    pass\n'),
        ("find2.py", 'HEAD = "-----BEGIN PRIVATE KEY-----\\n" + body\n'),
        ("about.md", "It begins with -----BEGIN PRIVATE KEY----- and a line break.\n"),
        ("credentials.py", "x = 1"),
        ("docs/credentials.md", "x"),
        ("credentials/prod.txt", "x"),
        ("id_mapping.py", "x = 1"),
        ("id_map.csv", "1,2"),
        ("id_rsa.pub", "ssh-rsa AAAA"),
        (".env.example", "A="),
        ("my_credentials.txt", "x"),
    ],
)
def test_what_is_no_secret_is_sent(tmp_path: Path, name: str, text: str) -> None:
    """Certificates, public keys, code, and texts about keys."""
    package = build_directory_package(folder(tmp_path, name, text))

    assert [file.name for file in package.files] == [name]


def test_ignored_secret_is_left_out_in_silence(tmp_path: Path) -> None:
    """Nothing has to be said about what is not sent."""
    folder(folder(tmp_path, ".env"), ".gitignore", ".env\n")

    assert [file.name for file in build_directory_package(tmp_path).files] == [".gitignore"]


@pytest.mark.parametrize(
    "pattern", [".env", "/conf/.env", "conf/*", "conf", "conf/", "./conf/.env"]
)
def test_included_secret_is_sent(tmp_path: Path, pattern: str) -> None:
    """Patterns are those of .gitignore, relative to the plugin."""
    folder(tmp_path, "conf/.env")

    package = build_directory_package(tmp_path, include=[pattern])

    assert [file.name for file in package.files] == ["conf/.env"]


@pytest.mark.parametrize("include", [["/.env"], ["*", "!.env"], ["#.env"]])
def test_secret_that_is_not_included_is_refused_all_the_same(
    tmp_path: Path, include: list[str]
) -> None:
    """A pattern for something else lets nothing through."""
    with pytest.raises(PluginManifestError, match=r"conf/\.env"):
        build_directory_package(folder(tmp_path, "conf/.env"), include=include)


def test_all_secrets_are_named_at_once(tmp_path: Path) -> None:
    """Nobody has to submit again for each of them."""
    folder(folder(tmp_path, "id_rsa"), "a/.env")

    with pytest.raises(PluginManifestError, match=r"a/\.env: .* \(also: id_rsa\)"):
        build_directory_package(tmp_path)


MANIFEST = "name: p\nactions:\n  go: {entrypoint: 'm:go'}\n"


def test_manifest_says_what_is_included(tmp_path: Path) -> None:
    """For the plugin, and for what lies in it and is a module of its own."""
    for name in (".env", "lib/.env", "lib/id_rsa"):
        folder(tmp_path, name)
    folder(tmp_path, "config.yaml", MANIFEST + "runtime_env: {py_modules: [lib]}\n")
    executor = RayJobExecutor("http://head", working_dir=tmp_path)

    with pytest.raises(PluginManifestError, match="include:"):
        executor.prepare_action("go", {})
    text = (tmp_path / "config.yaml").read_text()
    folder(tmp_path, "config.yaml", text + "include: ['/.env', '/lib/.env', lib/id_*]\n")

    packages = executor.prepare_action("go", {}).packages

    sent = {file.name for package in packages for file in package.files}
    assert {".env", "lib/.env", "lib/id_rsa"} < sent


@pytest.mark.parametrize("module", ["outside", "outside/one.py"])
def test_module_is_looked_through_as_well(tmp_path: Path, module: str) -> None:
    """Wherever it lies."""
    folder(tmp_path, "plugin/config.yaml", MANIFEST)
    folder(tmp_path, "outside/one.py", f'KEY = """{PEM}"""\n')
    executor = RayJobExecutor(
        "http://head",
        working_dir=tmp_path / "plugin",
        runtime_env={"py_modules": [str(tmp_path / module)]},
    )

    with pytest.raises(PluginManifestError, match=r"one\.py: .* it contains a private key"):
        executor.prepare_action("go", {})


@pytest.mark.parametrize(
    ("include", "told"),
    [(".env", "include is '.env', not a list"), ("[1]", r"include\[0\] is 1, not a string")],
)
def test_include_of_another_type_is_told(tmp_path: Path, include: str, told: str) -> None:
    """With file, key and value."""
    folder(tmp_path, "config.yaml", f"{MANIFEST}include: {include}\n")

    with pytest.raises(PluginManifestError, match=rf"config\.yaml: {told}"):
        RayJobExecutor("http://head", working_dir=tmp_path).prepare_action("go", {})
