"""The pages that teach: every command of them runs, in an empty folder, with few steps and one seed."""

import io
import re
import shlex
import sys
from glob import glob
from itertools import chain
from pathlib import Path

import pytest

from tietrain.cli.main import main

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What a command that trains is given in addition.
FEW = [
    "train.max_steps=2",
    "train.eval_sentences=4",
    "task.max_output_ratio=0",
    "task.max_output_extra=1",
    "hardware.threads=1",
    "hydra/launcher=basic",
]


def run_page(text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Run the blocks of a page: Python, files (YAML whose first line names one), and commands, which have no language.

    A block of the language `text` is printed by the command before it, line by line. One of `sh` belongs to another tool.
    """
    printed = ""
    for language, body in BLOCK.findall(text):
        if language == "python":
            exec(compile(body, "page", "exec"), {})
        elif language == "yaml":
            path = Path(body.partition("\n")[0].removeprefix("# "))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body)
        elif language == "text":
            assert [line for line in body.splitlines() if line not in printed] == []
        elif language == "":
            printed = "".join(
                run_command(command, monkeypatch, capsys) for command in body.replace("\\\n", "").splitlines()
            )
        else:
            assert language == "sh", language


def run_command(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command line prints, which must end well."""
    line, _, source = command.partition(" < ")
    program, *words = shlex.split(line, comments=True)
    assert program == "tietrain", command
    words = [*chain.from_iterable(sorted(glob(word)) or [word] for word in words)]
    if "=" in words[0] or words[0].startswith("-"):  # it trains
        words = [*("seed=1" if word == "seed=1,2,3" else word for word in words), *FEW]
    if source:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(source).read_bytes())))
    capsys.readouterr()
    assert main(words) == 0, f"{command}\n{capsys.readouterr().err}"
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    [
        "my_parallel_text",
        pytest.param("my_text", marks=pytest.mark.slow),
        pytest.param("my_tie", marks=pytest.mark.slow),
        pytest.param("reading_the_report", marks=pytest.mark.slow),
        "from_other_tools",
    ],
)
def test_commands_of_a_page_run(name, tmp_path, monkeypatch, capsys, no_figures):
    monkeypatch.chdir(tmp_path)
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    run_page(page, monkeypatch, capsys)
    named = re.findall(r"`([lm][mt]_\w+\.(?:tex|txt))`", page)
    assert [file for file in named if not list(tmp_path.glob(f"outputs/*/report/{file}"))] == []


@pytest.mark.parametrize(
    "page", ["```\ntietrain plan tying=tree_way\n```\n", "```\ntietrain schemes\n```\n```text\nno such line\n```\n"]
)
def test_a_page_that_errs_is_noticed(page, monkeypatch, capsys):
    with pytest.raises(AssertionError):
        run_page(page, monkeypatch, capsys)


MARIAN = {"layers": 6, "attention_heads": 8, "ffn_dim": 2048}


def count_translation(attn_bias: bool) -> int:
    """Parameters of six layers and six, width 512: the attentions, feed-forwards and norms of layers, and one table."""
    d, d_ff = 512, 2048
    attention = 4 * (d * d + attn_bias * d)
    feed_forward = 2 * d * d_ff + d_ff + d
    norm = 2 * d
    return 6 * (3 * attention + 2 * feed_forward + 5 * norm) + 37_000 * d


# What the page says that other tools count, from their modules.
COUNTS = {
    "fairseq": count_translation(attn_bias=True),
    "Marian": count_translation(attn_bias=True) + 37_000,
    "Sockeye 3": count_translation(attn_bias=False) + 37_000 + 2 * 2 * 512,
    "transformers": (50_257 + 1024) * 768 + 12 * (12 * 768**2 + 13 * 768) + 2 * 768,
    "nanoGPT (3adf61e)": (50_304 + 1024) * 768 + 12 * (12 * 768**2 + 2 * 768) + 768,
    "nanochat (92d63d4)": (2 + 6) * 32_768 * 768 + 12 * 12 * 768**2 + 6 * 6 * 12 + 50,
}


def test_counts_of_other_tools_are_those_of_their_modules():
    page = (DOCS / "from_other_tools.md").read_text(encoding="utf-8")
    assert [name for name, count in COUNTS.items() if f"\n{name}: {count:,}, " not in page] == []


@pytest.mark.slow
def test_counts_of_transformers_are_its_own():
    transformers = pytest.importorskip("transformers")
    import torch

    shape = {f"encoder_{what}": n for what, n in MARIAN.items()} | {f"decoder_{what}": n for what, n in MARIAN.items()}
    with torch.device("meta"):
        gpt2 = transformers.GPT2LMHeadModel(transformers.GPT2Config())
        marian = transformers.MarianMTModel(
            transformers.MarianConfig(vocab_size=37_000, d_model=512, pad_token_id=0, **shape)
        )
    learned = sum(p.numel() for p in marian.parameters() if p.requires_grad)
    assert gpt2.num_parameters() == COUNTS["transformers"]
    assert learned + marian.final_logits_bias.numel() == COUNTS["Marian"]
