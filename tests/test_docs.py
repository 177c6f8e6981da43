"""The documents show what the code has, and their commands are commands."""

import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from tietrain.cli import use, verbs  # noqa: F401  (they register the commands)
from tietrain.cli.registry import VERBS
from tietrain.config.compose import compose_config, parse_overrides
from tietrain.config.layout import make_shape
from tietrain.plan.schemes import make_plan

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCHEMES = (ROOT / "docs" / "schemes.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line.split("#")[0])[1:] for line in README.splitlines() if line.startswith(".venv/bin/tietrain ")
]


@pytest.fixture(scope="module")
def refresh_docs():
    spec = importlib.util.spec_from_file_location("refresh_docs", ROOT / "scripts" / "refresh_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_sections_are_the_codes(refresh_docs):
    for name in refresh_docs.DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        marks = re.findall(r"<!-- (/?)([\w-]+) -->", text)
        assert marks and marks[::2] == [("", mark) for _, mark in marks[1::2]], f"{name}: marks do not pair"
        assert refresh_docs.refreshed(text) == text, f"{name}: run make docs"


def test_alias_files_are_the_codes(refresh_docs):
    written = refresh_docs.alias_files()
    assert {path: path.read_text(encoding="utf-8") for path in written} == written, "run make docs"
    assert set((ROOT / "conf" / "tying" / "alias").iterdir()) == set(written), "a file of no alias"


def test_every_section_is_in_a_document(refresh_docs):
    shown = {
        mark for name in refresh_docs.DOCUMENTS for mark in re.findall(r"<!-- ([\w-]+) -->", (ROOT / name).read_text())
    }
    assert shown == set(refresh_docs.SECTIONS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_readme_commands_are_accepted(words):
    if words[0] in VERBS:
        words = words[1:]
    overrides = [word for word in words if "=" in word]
    swept = {o.key_or_group for o in parse_overrides(overrides) if o.is_sweep_override()}
    compose_config([word for word in overrides if word.split("=")[0] not in swept])


def test_the_example_of_a_rule_used_twice_is_accepted():
    (command,) = [line for line in SCHEMES.splitlines() if line.startswith("tietrain ")]
    config = compose_config(shlex.split(command)[1:])
    plan = make_plan(make_shape(config), config.tying.ties)
    assert len(config.tying.ties) == 2 and {owner.split(".")[0] for owner in plan.groups} == {"encoder", "decoder"}


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\S+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_links_lead_somewhere():
    for document in [ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (document.parent / target).exists(), f"{document}: {target}"


def test_every_package_is_in_the_wheel():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {".".join(p.parent.relative_to(ROOT / "src").parts) for p in (ROOT / "src").rglob("__init__.py")}
    assert listed == found | {"tietrain.conf"}
