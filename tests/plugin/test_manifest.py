"""What a plugin's config.yaml may say, and what the errors say if it doesn't."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse.exceptions import ActionNotFoundError, PluginManifestError
from airflow_synapse.plugin.entrypoints import parse_entrypoint
from airflow_synapse.plugin.manifest import action_from_entrypoint, load_manifest

SYNAPSE_SDK_MANIFEST = """\
name: My neural net
code: my-neural-net
version: 1.10
variant: null
category: neural_net
requires: {sdk: '>=2026.1.0', python: '>=3.10,<3.13'}
dependencies: {}
tags: []
data_type: image
package_manager: uv
package_manager_options: ["--prefer-binary"]
actions:
  train:
    entrypoint: plugin.train.TrainAction
    method: job
    input_type: yolo_dataset
    params: TrainParams
  test: {entrypoint: "plugin.test:TestAction", method: task}
"""


def plugin(folder: Path, manifest: str) -> Path:
    (folder / "config.yaml").write_text(manifest, encoding="utf-8")
    return folder


def test_manifest_of_synapse_sdk_loads_unchanged(tmp_path):
    """Keys of synapse-sdk that are not ours are accepted, both forms of entrypoints too."""
    manifest = load_manifest(plugin(tmp_path, SYNAPSE_SDK_MANIFEST))

    assert manifest.name == "My neural net"
    assert manifest.version == "1.10"
    assert manifest.package_manager == "uv"
    assert manifest.package_manager_options == ("--prefer-binary",)
    assert manifest.wheels_dir == "wheels"
    assert manifest.action("train").entrypoint == "plugin.train:TrainAction"
    assert manifest.action("train").params_schema is None
    assert manifest.action("test").entrypoint == "plugin.test:TestAction"


def test_env_values_are_text_as_they_were_written(tmp_path):
    """A shell user reads in the job what stands in the file, whatever YAML makes of it."""
    text = "env: {A: 1, B: true, C: yes, D: 0x10, E: 1.50, F: null, G: '', H: text, 'I': 010}"

    manifest = load_manifest(plugin(tmp_path, text))

    assert manifest.env == {
        "A": "1",
        "B": "true",
        "C": "yes",
        "D": "0x10",
        "E": "1.50",
        "F": "",
        "G": "",
        "H": "text",
        "I": "010",
    }


def test_manifest_without_names_is_called_like_its_folder(tmp_path):
    """A manifest with only actions is enough."""
    folder = tmp_path / "digits"
    folder.mkdir()

    manifest = load_manifest(plugin(folder, "actions: {run: {entrypoint: 'a:b'}}"))

    assert manifest.name == "digits"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["it is empty"]),
        ("- a", ["['a']", "not a mapping"]),
        ("actions: [a]", ["actions is ['a']"]),
        ("actions: {run: 'a:b'}", ["actions.run is 'a:b'", "actions.run.entrypoint"]),
        ("actions: {run: }", ["actions.run is None"]),
        ("actions: {run: {method: job}}", ["actions.run.entrypoint is missing"]),
        ("actions: {run: {entrypoint: ''}}", ["actions.run.entrypoint is missing"]),
        ("actions: {run: {entrypoint: 5}}", ["actions.run.entrypoint is 5", "not a string"]),
        ("actions: {run: {entrypoint: run}}", ["actions.run.entrypoint is 'run'"]),
        ("actions: {run: {entrypoint: 'a b:c'}}", ["'a b:c'", "package.module:attribute"]),
        ("actions: {run: {entrypoint: 'a:b', description: [1]}}", ["actions.run.description"]),
        ("env: [A]", ["env is ['A']"]),
        ("env: {A: [1]}", ["env.A is a list"]),
        ("env: {A: {B: 1}}", ["env.A is a mapping"]),
        ("env: {yes: 1}", ["env.True", "quotes"]),
        ("runtime_env: pip", ["runtime_env is 'pip'"]),
        ("package_manager: conda", ["package_manager is 'conda'", "'pip' nor 'uv'"]),
        ("package_manager_options: --pre", ["package_manager_options is '--pre'"]),
        ("package_manager_options: [1]", ["package_manager_options[0] is 1"]),
        ("wheels_dir: [wheels]", ["wheels_dir is ['wheels']"]),
        ("name: {a: 1}", ["name is {'a': 1}"]),
        (
            "actions: {run: {entrypoint: 'a:b', params: {properties: {lr: {type: numbr}}}}}",
            ["actions.run.params.properties.lr.type is 'numbr'", "JSON Schema"],
        ),
        ("name: a\nactions: {run: {\n", ["line 3"]),
        ("a: 1\n\tb: 2", ["line 2, column 1"]),
        ("a: \x01", ["invalid YAML"]),
    ],
)
def test_wrong_manifest_is_refused_naming_file_key_and_value(tmp_path, text, told):
    """The error says where and what, so that one look at the file is enough."""
    with pytest.raises(PluginManifestError) as caught:
        load_manifest(plugin(tmp_path, text))

    for part in ["config.yaml", *told]:
        assert part in str(caught.value)


def test_missing_folder_is_told(tmp_path):
    """A folder that is not there is told by its path."""
    with pytest.raises(PluginManifestError, match=r"no-such.*no such folder"):
        load_manifest(tmp_path / "no-such")


def test_file_in_place_of_the_folder_is_told(tmp_path):
    """The manifest's own path is not the plugin folder."""
    path = plugin(tmp_path, "name: a") / "config.yaml"

    with pytest.raises(PluginManifestError, match="not a plugin folder"):
        load_manifest(path)


def test_folder_without_manifest_is_told(tmp_path):
    """The error names the file that is missing."""
    with pytest.raises(PluginManifestError, match=r"no config\.yaml"):
        load_manifest(tmp_path)


def test_unknown_action_is_told_with_those_there_are(tmp_path):
    """A typo in an action's name is answered with the names."""
    text = "name: p\nactions: {train: {entrypoint: 'a:b'}, test: {entrypoint: 'a:c'}}"
    manifest = load_manifest(plugin(tmp_path, text))

    with pytest.raises(ActionNotFoundError) as caught:
        manifest.action("trian")

    assert "'trian'" in str(caught.value)
    assert "test, train" in str(caught.value)


@pytest.mark.parametrize("text", ["train", "a.b.C", "a:", ":b", "a:b:c", "a-b:c", "a:for"])
def test_entrypoint_in_place_of_an_action_needs_its_form(text):
    """Without a manifest only package.module:attribute says what to run."""
    with pytest.raises(PluginManifestError) as caught:
        action_from_entrypoint(text)

    assert repr(text) in str(caught.value)
    assert "package.module:attribute" in str(caught.value)


def test_entrypoint_in_place_of_an_action_is_its_own_name():
    """An action that no manifest names is called by its entrypoint."""
    action = action_from_entrypoint("plugin.train:run")

    assert action.name == action.entrypoint == "plugin.train:run"


NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}x", fullmatch=True)


@given(st.lists(NAMES, min_size=2, max_size=5))
def test_both_forms_of_an_entrypoint_mean_the_same(names):
    """a.b.C is a.b:C."""
    *module, attribute = names

    dotted = parse_entrypoint(".".join(names))

    assert dotted == parse_entrypoint(f"{'.'.join(module)}:{attribute}")
    assert dotted == f"{'.'.join(module)}:{attribute}"


YAML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=8), inside),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "name",
        "code",
        "version",
        "actions",
        "env",
        "runtime_env",
        "wheels_dir",
        "other",
        "package_manager",
        "package_manager_options",
    ]
)
ACTIONS = st.dictionaries(
    st.text(max_size=5),
    st.dictionaries(st.sampled_from(["entrypoint", "params", "description", "method"]), YAML),
)


@given(st.dictionaries(KEYS, YAML), st.none() | ACTIONS)
def test_any_yaml_loads_or_is_refused_in_our_words(tmp_path_factory, data, actions):
    """No content of a manifest ends in an exception that is not ours."""
    folder = tmp_path_factory.mktemp("plugin")
    given_data = data if actions is None else {**data, "actions": actions}
    plugin(folder, yaml.safe_dump(given_data, allow_unicode=True))

    try:
        manifest = load_manifest(folder)
    except PluginManifestError as exc:
        assert "config.yaml" in str(exc)  # noqa: PT017  # refusing is fine
    else:
        assert all(isinstance(value, str) for value in manifest.env.values())
        assert all(":" in action.entrypoint for action in manifest.actions.values())
