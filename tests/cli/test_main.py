"""The command line as its users type it: commands, exit codes, one message and no traceback."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tietrain import __version__
from tietrain.cli import again, exchange, use, verbs  # noqa: F401  (they register the commands)
from tietrain.cli.registry import VERBS
from tietrain.config.compose import compose_config
from tietrain.config.identity import run_name
from tietrain.train.outcome import Outcome
from tietrain.train.stop import Stopped

ROOT = Path(__file__).parents[2]
# Refused by this room: the texts are in tests/golden/cli_refusals.txt.
REFUSED_HERE = (
    "reprot",
    "frobnicate",
    "",
    "--cfg job --multirun",
    "--cfg nope",
    "--lr 0.1",
    "-v",
    "help",
    "-cn nope seed=1",
    "-cp nope seed=1",
    "translate",
    "plan --learning_rate=0.1",
    "-m seed=1,2 run_dir=x",
    "plan -m seed=1,2 --ledger",
    "plan --against nope",
    "plan --against tying='x",
    "plan --figure f.gif",
    "plan --nope",
    "report",
    "status no/such/folder",
    "status . --json --watch",
    "compare a b --metric rouge",
    "compare a b --samples 0",
    "translate run --beam 0",
    "translate run --beam many",
    "translate run --length-penalty -1",
    "translate run task.beam=3",
    "generate run --temperature 0",
    "generate run --top-p 1.5",
    "eval run model.d_model=8",
    "eval run data.kind=char",
    "eval run --name a/b",
)
# Refused by the rooms below: command line -> setting, exit code.
REFUSED_BELOW = {
    "sed=1": ("sed=1", 2),
    "+typo=1": ("+typo=1", 2),
    "seed=1,2": ("seed", 2),
    "study=a/b": ("study=a/b", 2),
    "-m tying=none,nope": ("tying=nope", 2),
    "-m seed=1,2 study=../x": ("study=../x", 2),
    "-cd nope seed=1": ("-cd nope", 2),
    "run_dir=/proc/nope": ("run_dir=/proc/nope", 5),
    "plan -m sed=1,2": ("sed=1,2", 2),
    "plan seed=1,2": ("seed", 2),
    "plan -cd nope": ("-cd nope", 2),
    "plan tying=three_way": ("tying=three_way", 2),
    "plan --against tying=three_way": ("tying=three_way", 2),
    "plan --against .": ("plan.json", 3),
    "plan --lengths 64,...,1000": ("--lengths 64,...,1000", 2),
    "plan --figure no/such/folder/f.png": ("writing no/such/folder/f.png", 5),
    "report no/such/folder": ("no/such/folder", 3),
}


def test_main_prints_its_version(tietrain_cli):
    assert tietrain_cli("--version") == (0, f"tietrain {__version__}\n", "")


def test_main_refuses_in_one_line(tietrain_cli, golden):
    texts = {}
    for line in REFUSED_HERE:
        ran = tietrain_cli(*line.split(" "))
        assert ran.is_refusal() and ran.code == (3 if "folder" in line else 2), line
        texts[f"tietrain {line}"] = ran.err
    assert list(Path().iterdir()) == []
    golden("cli_refusals", texts)


def test_main_passes_on_refusals_with_their_setting_and_code(tietrain_cli):
    for line, (setting, code) in REFUSED_BELOW.items():
        ran = tietrain_cli(*line.split(" "))
        assert ran.is_refusal() and ran.code == code, line
        assert ran.err.startswith(f"tietrain: {setting}"), line
    assert not list(Path().rglob("run.json"))


def test_main_says_which_words_count_for_nothing(tietrain_cli):
    ran = tietrain_cli("plan", "model=tiny", "seed=1", "task=lm", "seed=2", "seed=2")
    assert (ran.code, ran.err) == (0, "tietrain: seed=1 is not used: seed=2 comes after it\n")


@pytest.mark.parametrize("command", [[], ["plan"], ["data"]])
def test_settings_that_a_run_does_not_read_are_named(tietrain_cli, configs, command):
    ran = tietrain_cli(*command, "data.preset=tiny", "task.beam=5", "model=tiny", "train.max_steps=3")
    said = [
        line for line in ran.err.splitlines() if not line.startswith("preparing: ")
    ]  # a busy machine takes its time
    assert (ran.code, said) == (0, ["tietrain: task.beam=5 is not used: it is read if task.name=mt"])
    assert tietrain_cli("-m", "task=lm,mt", "task.beam=5").err.count("is not used") == 0


def test_every_command_explains_itself(tietrain_cli, golden):
    texts = {}
    for name, parser in sorted(VERBS.items()):
        ran = tietrain_cli(name, "--help")
        assert ran.code == 0 and "--json" in ran.out
        # argparse lays out its own text; the golden file holds ours.
        lines = [parser.description, *(f"{' '.join(a.option_strings) or a.dest}: {a.help}" for a in parser._actions)]
        texts[f"tietrain {name}"] = "\n".join(lines)
    golden("cli_help", texts)


def test_help_and_docs_list_every_command(tietrain_cli):
    header = tietrain_cli("--help").out
    table = re.findall(r"^\| `(\w+)", (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in VERBS if not re.search(rf"\b{name}\b", header)] == []
    assert set(VERBS) <= set(table)


def test_plan_json_has_plain_integers(tietrain_cli):
    body = json.loads(tietrain_cli("plan", "task=mt", "tying=three_way", "model=vaswani_base", "--json").out)
    assert (body["params"], body["params_untied"], body["params_saved"]) == (63_045_632, 100_933_632, 37_888_000)


def test_config_dir_adds_configurations_of_the_user(tietrain_cli):
    Path("tying").mkdir()
    Path("tying/mine.yaml").write_text("ties:\n  mine: {rule: cross_layer, n_unique: 2, norms: false}\n")
    body = json.loads(tietrain_cli("plan", "tying=mine", "-cd", ".", "--json").out)
    assert body["label"] == "mine" and body["params_saved"] > 0


BOMB = "a: &a [x]\n" + "".join(
    f"{c}: &{c} [{', '.join(9 * [f'*{b}'])}]\n" for b, c in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("ties: [", "mine.yaml, line"),
        ("tis: 3\n", "tying/mine.yaml: tis"),
        ("3", "mine.yaml: it holds no keys"),
        ("[1, 2]", "mine.yaml: it holds no keys"),
        ("\xff\xfe", "mine.yaml: it is not text"),
        ("a\0b", "mine.yaml: it is not text"),
        (BOMB, "mine.yaml: with its aliases"),
        ("ties: &a {b: *a}", "mine.yaml: with its aliases"),
        ("[" * 3000, "mine.yaml: its values lie too deep"),
        ("#" * 1_000_001, "mine.yaml: it has more than"),
    ],
)
def test_config_dir_with_a_broken_file_is_refused(tietrain_cli, text, setting):
    Path("tying").mkdir()
    Path("tying/mine.yaml").write_bytes(text.encode("latin-1"))
    for words in (
        ["plan", "tying=mine", "-cd", "."],
        ["-cd", ".", "tying=mine"],
        ["-cd", ".", "-m", "tying=mine,none"],
    ):
        ran = tietrain_cli(*words)
        assert ran.is_refusal() and ran.code == 2
        assert setting in ran.err


def test_main_leaves_hydra_its_flags(tietrain_cli):
    ran = tietrain_cli("--cfg", "job", "task=mt")
    assert ran.code == 0 and "name: mt" in ran.out
    assert tietrain_cli("--nope").code == 2


def test_shell_completion_offers_schemes(tietrain_cli, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "tietrain tying=")
    monkeypatch.setenv("COMP_POINT", "15")
    ran = tietrain_cli("-sc", "query=bash")
    assert ran.code == 0 and "tying=three_way" in ran.out.split()


def test_main_reports_a_bug_with_70_and_a_log(tietrain_cli, monkeypatch):
    def broken():
        raise RuntimeError("boom")

    monkeypatch.setattr("tietrain.cli.verbs.tying_choices", broken)
    ran = tietrain_cli("schemes")
    assert ran.code == 70 and "Traceback" not in ran.err
    log = Path(re.search(r"\(see (.+)\)", ran.err).group(1))
    assert "RuntimeError: boom" in log.read_text()
    log.unlink()


@pytest.mark.parametrize(
    ("line", "offered"),
    {
        "tietrain pla": {"plan"},
        "tietrain tying=three": {"tying=three_way"},
        "tietrain plan tying=three": {"tying=three_way"},
        "tietrain tra": {"train", "translate", "train.", "train="},
        "tietrain train tying=three": {"tying=three_way"},
        "tietrain -m plan tying=three": {"tying=three_way"},
        "tietrain status o": set(),
        "tietrain plan nope x": set(),
        "tietrain -cd nope 'tying=": set(),
    }.items(),
)
def test_shell_completion_offers_commands_and_no_error(tietrain_cli, monkeypatch, line, offered):
    monkeypatch.setenv("COMP_LINE", line)
    ran = tietrain_cli("-sc", "query=bash")
    assert (ran.code, ran.err, set(ran.out.split())) == (0, "", offered)


@pytest.mark.parametrize("line", ["train seed=3", "run seed=3", "-cd mine train seed=3", "seed=3"])
def test_train_and_run_are_settings_alone(tietrain_cli, configs, line):
    Path("mine").mkdir()
    assert tietrain_cli(*line.split()).code == 0
    assert [config.seed for config in configs] == [3]


@pytest.mark.parametrize("line", ["plan -cd mine -cn own --json", "-cd mine -m plan -cn own seed=1,2 --json"])
def test_plan_takes_flags_in_front_and_the_name_of_a_configuration(tietrain_cli, line):
    Path("mine").mkdir()
    Path("mine/own.yaml").write_text("defaults: [config, override tying: cycle, _self_]\n")
    ran = tietrain_cli(*line.split())
    assert ran.code == 0
    found = json.loads(ran.out)
    labels = [cell["directory"].split("-")[1] for cell in found] if isinstance(found, list) else [found["label"]]
    assert set(labels) == {"cycle"}


def test_a_file_to_begin_with_is_for_runs_grids_and_every_command_of_settings(tietrain_cli, configs):
    Path("mine").mkdir()
    Path("mine/own.yaml").write_text(
        "defaults: [config, override tying: cycle, _self_]\nseed: 5\ndata: {preset: tiny}\n"
    )
    Path("mine/bare.yaml").write_text("seed: 5\n")
    begin = ["-cd", "mine", "-cn"]
    assert tietrain_cli(*begin, "own", "model=tiny").code == 0
    assert tietrain_cli("-m", *begin, "own", "seed=7,8").code == 0
    assert [(config.seed, config.tying_label) for config in configs] == [(5, "cycle"), (7, "cycle"), (8, "cycle")]
    assert Path("outputs/default/grid.jsonl").read_text().count('"swept": ["seed=') == 2
    assert tietrain_cli("data", *begin, "own").out.startswith("grammar-tiny\n")
    for words in ([], ["-m"], ["plan"], ["data"], ["check"]):
        ran = tietrain_cli(*words, *begin, "bare", "seed=1")
        assert ran.is_refusal() and ran.err.startswith("tietrain: bare.yaml: it leaves out the defaults"), words
    assert tietrain_cli("check", "--all", *begin, "own").code == 2


def test_a_stopped_run_speaks_of_no_grid(tietrain_cli, monkeypatch):
    stopped = Outcome("", "interrupted", 130, f"{Stopped(2)} after saving")
    monkeypatch.setattr("tietrain.train.job.run_job", lambda *_: stopped)
    assert tietrain_cli("seed=1") == (130, "", "tietrain: stopped by Ctrl-C after saving\n")
    assert tietrain_cli("-m", "seed=1,2").err.endswith(
        "grid: 1 interrupted\n  interrupted:  stopped by Ctrl-C after saving\n"
    )


@pytest.mark.parametrize(
    ("line", "batch_by"),
    [
        ("seed=1", ["tokens"]),
        ("-m seed=1,2 model.vocab_size=200", ["tokens"] * 2),
        ("-m data.byte_fallback=choice(true,false)", ["chars"] * 2),
        ("-m data.byte_fallback=true data.character_coverage=1.0,0.9995", ["chars"] * 2),
        ("-m data.kind=bpe,char train.batch_by=auto,tokens", ["chars", "tokens"] * 2),
        ("-cd mine experiment=sizes", ["chars"] * 2),
        ("-cd mine experiment=sizes model.vocab_size=300 seed=1,2", ["tokens"] * 2),
        ("-cd mine experiment=sizes hydra.mode=RUN", ["tokens"]),
    ],
)
def test_grid_over_vocabularies_batches_by_characters(tietrain_cli, configs, line, batch_by):
    Path("mine/experiment").mkdir(parents=True)
    grid = "hydra: {mode: MULTIRUN, sweeper: {params: {model.vocab_size: '200,400'}}}"
    Path("mine/experiment/sizes.yaml").write_text(f"# @package _global_\n{grid}\n")
    assert tietrain_cli(*line.split()).code == 0
    assert [config.train.batch_by for config in configs] == batch_by


def test_cell_of_a_grid_is_the_run_of_its_resolved_settings(tietrain_cli, configs):
    assert tietrain_cli("-m", "model.vocab_size=200,400").code == 0
    assert tietrain_cli("model.vocab_size=200", "train.batch_by=chars").code == 0
    assert tietrain_cli("model.vocab_size=200").code == 0
    grid, _, alone, by_tokens = map(run_name, configs)
    assert alone == grid != by_tokens
    assert by_tokens == run_name(compose_config(["model.vocab_size=200", "train.batch_by=tokens"]))


def test_main_refuses_python_without_assertions():
    command = [sys.executable, "-O", "-m", "tietrain", "plan", "data.columns=[a,b]", "task=mt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("tietrain: python -O: ") and done.stderr.count("\n") == 1
