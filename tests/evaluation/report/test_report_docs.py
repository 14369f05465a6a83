"""docs/report.md against a report.json that has every part a report can have."""

import json
import pathlib
import re

import pytest

import tfharden as th
from tfharden.evaluation.evaluator import PACKAGES

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "report.md"
# Whose keys depend on the attack, so that the page can't name them.
OPEN = ("models[].attacks[].parameters", "transfer.parameters", "differential.models[].attacks[].parameters")
# What the page's placeholders stand for.
NAMES = {
    "<package>": PACKAGES,
    "<probe>": th.evaluation.PROBES,
    "<images>": ("clean", "adversarial"),
    "<kernels>": ("builtin", "reference"),
    "<fooling>": ("fooling-gradient", "fooling-evolution"),
}


@pytest.fixture
def found(full):
    return full.content


def keys_of(value, path=""):
    """Paths of all keys, such as models[].attacks[].name."""
    if path in OPEN:
        return set()
    if isinstance(value, list):
        return set().union(*(keys_of(item, f"{path}[]") for item in value))
    if not isinstance(value, dict):
        return set()
    own = {key: f"{path}.{key}".removeprefix(".") for key in value}
    return set(own.values()).union(*(keys_of(value[key], here) for key, here in own.items()))


def keys_on_the_page():
    """The paths that the page names, with each name that a placeholder stands for in its place."""
    paths = set(re.findall(r"`((?!report\.)[a-z_]+(?:(?:\[\])?\.[\w<>-]+)*)`", PAGE.read_text(encoding="utf-8")))
    for placeholder, names in NAMES.items():
        paths = {path.replace(placeholder, name) for path in paths for name in names}
    return paths


def test_every_key_is_on_the_page(found):
    probes = {f"models[].probes.{probe}" for probe in th.evaluation.PROBES}
    assert keys_of(found) - probes - keys_on_the_page() == set()


def test_every_key_on_the_page_is_one(found):
    nested = {path for path in keys_on_the_page() if "." in path}
    assert nested - keys_of(found) == set()
    tables = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {path for path in tables if "." not in path} == found.keys()
    assert len(tables) == len(set(tables))


def test_the_report_of_this_test_has_every_optional_part(found):
    attacks = {attack["name"]: attack for attack in found["models"][0]["attacks"]}
    assert attacks["fab"]["minimum_median"] > 0
    assert len(attacks["autoattack"]["stages"]) == 2
    assert found["models"][0]["probes"].keys() == set(th.evaluation.PROBES)
    assert found["transfer"]
    assert [len(model["kernels"]) for model in found["differential"]["models"]] == [0, 2]
    assert found["models"][0]["checks"]


def test_the_example_runs_as_it_stands(found, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    others = [model | {"name": f"other {model['name']}"} for model in found["models"]]
    changes = {"report": {}, "last_week": {}, "other_models": {"models": others, "transfer": {}}}
    for folder, change in changes.items():
        pathlib.Path(folder).mkdir()
        pathlib.Path(folder, "report.json").write_text(json.dumps(found | change))
    exec(re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)[1], {})
    assert "change" in capsys.readouterr().out
    assert json.loads(pathlib.Path("copy", "report.json").read_text()) == found


def test_the_readme_points_to_the_page():
    assert "docs/report.md" in (PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
