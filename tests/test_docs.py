"""The README shows what the code has, and its commands are commands."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from tietrain.cli import VERBS
from tietrain.compose import compose_config, parse_overrides

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line.split("#")[0])[1:] for line in README.splitlines() if line.startswith(".venv/bin/tietrain ")
]


def test_scheme_table_is_the_codes():
    spec = importlib.util.spec_from_file_location("refresh_docs", ROOT / "scripts" / "refresh_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.refreshed(README) == README, "run make docs"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_readme_commands_are_accepted(words):
    if words[0] in VERBS:
        words = words[1:]
    overrides = [word for word in words if "=" in word]
    swept = {o.key_or_group for o in parse_overrides(overrides) if o.is_sweep_override()}
    compose_config([word for word in overrides if word.split("=")[0] not in swept])


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\S+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_links_lead_somewhere():
    for document in [ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (document.parent / target).exists(), f"{document}: {target}"


def test_every_package_is_in_the_wheel():
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {".".join(p.parent.relative_to(ROOT / "src").parts) for p in (ROOT / "src").rglob("__init__.py")}
    assert listed == found | {"tietrain.conf"}
