"""The documents show what the code has, and their commands are commands."""

import importlib.util
import json
import re
import shlex
import time
import tomllib
from pathlib import Path

import pytest

import tietrain.data.prepare
import tietrain.data.progress
from tietrain import __version__
from tietrain.cli import again, exchange, use, verbs  # noqa: F401  (they register the commands)
from tietrain.cli.registry import VERBS
from tietrain.config.compose import compose_config, parse_overrides
from tietrain.config.keys import ALL, tying_choices
from tietrain.config.layout import make_shape
from tietrain.errors import TietrainError
from tietrain.plan.catalogue import scheme_rows
from tietrain.plan.schemes import make_plan

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCHEMES = (ROOT / "docs" / "schemes.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def refresh_docs():
    spec = importlib.util.spec_from_file_location("refresh_docs", ROOT / "scripts" / "refresh_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_sections_are_current(refresh_docs):
    for name in refresh_docs.DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        marks = re.findall(r"<!-- (/?)([\w-]+) -->", text)
        assert marks and marks[::2] == [("", mark) for _, mark in marks[1::2]], f"{name}: marks do not pair"
        assert refresh_docs.refreshed(text) == text, f"{name}: run make docs"


def test_slips_are_answered_alike_on_a_busy_machine(refresh_docs, monkeypatch, tmp_path):
    """Preparing that takes long says how far it has come, which is no answer to a slip."""
    prepare = tietrain.data.prepare.prepare

    def prepare_slowly(config):
        with tietrain.data.progress.stage("reading"):
            time.sleep(0.2)
        return prepare(config)

    monkeypatch.setattr(tietrain.data.prepare, "prepare", prepare_slowly)
    monkeypatch.setattr(tietrain.data.progress, "FIRST_SECONDS", 0.01)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text(refresh_docs.FILES["my.txt"])
    words = ["data=text", "data.splits={train: [my.txt], valid: [my.txt]}", "model.vocab_size=20"]
    assert f"| {refresh_docs.code(refresh_docs.answer_to(words))} |" in (ROOT / "docs" / "slips.md").read_text()


def test_alias_files_are_current(refresh_docs):
    written = refresh_docs.alias_files()
    assert {path: path.read_text(encoding="utf-8") for path in written} == written, "run make docs"
    assert set((ROOT / "conf" / "tying" / "alias").iterdir()) == set(written), "a file of no alias"


def test_notebook_is_the_page_of_python(refresh_docs):
    page, book = (ROOT / "docs" / f"python.{end}" for end in ("md", "ipynb"))
    assert refresh_docs.notebook(page.read_text(encoding="utf-8")) == book.read_text(encoding="utf-8"), "run make docs"
    code = [cell["source"] for cell in json.loads(book.read_text())["cells"] if cell["cell_type"] == "code"]
    compile("\n".join(code), str(book), "exec")


def test_sections_are_each_in_a_document(refresh_docs):
    shown = {
        mark for name in refresh_docs.DOCUMENTS for mark in re.findall(r"<!-- ([\w-]+) -->", (ROOT / name).read_text())
    }
    assert shown == set(refresh_docs.SECTIONS)


def test_scheme_table_has_one_line_per_scheme(refresh_docs):
    rows = scheme_rows(tying_choices())
    lines = refresh_docs.scheme_markdown(rows).splitlines()
    assert [re.findall(r"`(\w+)`", line)[0] for line in lines[2:]] == [row["name"] for row in rows]
    assert len({line.count("|") for line in lines}) == 1


def test_scheme_pages_state_saved_parameters(refresh_docs):
    """Transformer base with 37,000 pieces and 512 learned positions: closed forms for four schemes."""
    table, ffn, layer = 37_000 * 512, 2 * 512 * 2048 + 2048 + 512, 4 * 512 * 512
    saved = {
        "three_way": ("mt", 2 * table),
        "shared_enc_dec": ("mt", 11 * ffn),
        "query_key": ("lm", 6 * 512 * 512),
        "decoder_self_attn": ("lm", 5 * layer),
    }
    pages = refresh_docs.scheme_pages(saved)
    for name, (task, numbers) in saved.items():
        section = pages.split(f"`{name}`\n")[1].split("###")[0]
        assert f"\n{task}: {numbers:,} of " in section, name


def test_table_of_settings_has_one_row_per_setting(refresh_docs):
    rows = [line for line in refresh_docs.settings_markdown().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [
        *(key for key in ALL if "." in key),
        *(key for key in ALL if "." not in key),
    ]


def test_readme_commands_are_accepted():
    lines = [line for line in README.splitlines() if line.startswith(".venv/bin/tietrain ")]
    assert lines
    refused = []
    for line in lines:
        words = shlex.split(line.split("#")[0])[1:]
        try:
            accept(words[1:] if words[0] in VERBS else words)
        except TietrainError as e:
            refused.append(f"{line}: {e}")
    assert not refused, "\n".join(refused)


def accept(words: list[str]) -> None:
    """Compose the configuration of a command line; what it sweeps takes its default."""
    overrides = [word for word in words if "=" in word]
    swept = {o.key_or_group for o in parse_overrides(overrides) if o.is_sweep_override()}
    compose_config([word for word in overrides if word.split("=")[0] not in swept])


def test_accept_refuses_an_unknown_setting():
    with pytest.raises(TietrainError):
        accept(["task=mt", "model.depth=3"])


def test_schemes_page_has_an_accepted_example_of_a_rule_used_twice():
    (command,) = [line for line in SCHEMES.splitlines() if line.startswith("tietrain ")]
    config = compose_config(shlex.split(command)[1:])
    plan = make_plan(make_shape(config), config.tying.ties)
    assert len(config.tying.ties) == 2 and {owner.split(".")[0] for owner in plan.groups} == {"encoder", "decoder"}


def test_make_targets_of_the_documents_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for document in DOCUMENTS:
        for target in re.findall(
            r"^make ([a-z-]+)|`make ([a-z-]+)`", document.read_text(encoding="utf-8"), re.MULTILINE
        ):
            assert re.search(rf"^{''.join(target)}:", makefile, re.MULTILINE), f"{document}: make {''.join(target)}"


def test_links_lead_somewhere():
    broken = []
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            if not target.startswith("https://") and not (document.parent / target).exists():
                broken.append(f"{document.relative_to(ROOT)}: {target}")
    assert not broken, "\n".join(broken)


def test_version_is_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    released = re.findall(r"^## (\d\S*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert f"\nversion: {__version__}\n" in citation and released[0] == __version__


def test_every_package_is_in_the_wheel():
    # conf/ becomes tietrain.conf, so the list is explicit: setuptools cannot both map a folder and find packages.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    found = {".".join(p.parent.relative_to(ROOT / "src").parts) for p in (ROOT / "src").rglob("__init__.py")}
    assert listed == found | {"tietrain.conf"}
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["tietrain"]
    assert (ROOT / "src" / "tietrain" / "py.typed").is_file()
