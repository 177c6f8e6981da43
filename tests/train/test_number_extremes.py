"""Every number at its bounds, one beyond, and far beyond where it has none: a run ends well or is refused in plain words."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bounded_main
from tietrain.config.compose import compose_config
from tietrain.config.identity import flat_settings
from tietrain.config.keys import ALL, is_read
from tietrain.config.setting import Setting

TINY = {
    "model.d_model": 8, "model.n_heads": 2, "model.n_layers": 1, "model.d_ff": 8, "model.vocab_size": 200,
    "task.window": 16, "task.max_output_ratio": 0.1, "task.max_output_extra": 2, "hardware.threads": 1,
    "train.batch_tokens": 64, "train.max_steps": 2, "train.eval_sentences": 5,
}  # fmt: skip
# Words without which a run does not read some number.
CONTEXTS = [
    "task=lm", "task=mt", "task=mlm", "task=mt task.directions=[a-b,b-a]", "task=mt task.beam=2",
    "model.positions=learned", "optim=sgd", "train.average=last", "match.by=params", "data.byte_fallback=true",
]  # fmt: skip
OWN_CONTEXTS = {
    "report.margin": "report.metric=ppl_token",
    "model.init_std.positions": "model.positions=learned",
    "train.max_steps": "train.max_tokens=100",
}
# Settings with several numbers, or of any type -> how one is written.
FORMS = {
    "optim.betas": "optim.betas=[{0},{0}]",
    "report.looks": "report.looks=[{0}]",
    "task.train_pairs": "+task.train_pairs.a-b={0}",
    "data.features": "+data.features.a={0}",
    "model.table_init_std": "model.table_init_std={0}",
}
# What a run may end with: all but 1, 6 and 70, which is a bug.
ENDS = (0, 2, 3, 4, 5, 7)


def is_number(found: Setting) -> bool:
    plain = found.annotation.removeprefix("Optional[").removesuffix("]") in ("int", "float")
    return (plain or found.key in FORMS) and not found.spec.written


NUMBERS = [key for key, found in ALL.items() if is_number(found)]


def values(found: Setting) -> Iterator[float]:
    """The bounds of a number and their neighbours; something huge where there is none."""
    is_whole = "int" in found.annotation
    spec = found.spec
    for bound in (spec.ge, spec.gt, spec.le, spec.lt):
        if bound is not None and is_whole:
            yield from (bound - 1, bound, bound + 1)
        elif bound is not None:
            yield from (math.nextafter(bound, -math.inf), bound, math.nextafter(bound, math.inf))
    if spec.le is None and spec.lt is None:
        yield 10**40 if is_whole else 1e300


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> dict[str, list[str]]:
    """Words that name a corpus of two columns, of a few lines."""
    folder = tmp_path_factory.mktemp("corpus")
    lines = [f"{a} {b} {c} {d}" for a in "xyz" for b in ("ka", "lo") for c in ("min", "tur") for d in ("ebo", "sil")]
    for split, n_lines in (("train", 24), ("valid", 4), ("test", 4)):
        for column in "ab":
            (folder / f"{split}.{column}").write_text("\n".join(lines[:n_lines]) + "\n")
    return {
        columns: [
            "data=text",
            f"data.columns=[{columns}]",
            *(
                f"data.splits.{split}=[{','.join(f'{folder}/{split}.{column}' for column in columns.split(','))}]"
                for split in ("train", "valid", "test")
            ),
        ]
        for columns in ("a", "a,b")
    }


def context_of(key: str) -> list[str]:
    """Words with which a run reads a number."""
    if key in OWN_CONTEXTS:
        return OWN_CONTEXTS[key].split()
    return next(
        words.split()
        for words in CONTEXTS
        if is_read(key, flat_settings(compose_config(["data=grammar", *words.split()])))
    )


def command_lines(key: str, corpus: dict[str, list[str]], folder: Path) -> list[list[str]]:
    """One run per value of a number."""
    context = context_of(key)
    columns = "a,b" if "task=mt" in context else "a"
    text = ["data.preset=tiny"] if key in ("data.seed", "data.language_seed", "data.difficulty") else corpus[columns]
    others = [f"{name}={value}" for name, value in TINY.items() if name != key]
    words = [*others, *text, *context]
    form = FORMS.get(key, key + "={0}")
    return [
        [*words, form.format(value), f"run_dir={folder / str(i)}"] for i, value in enumerate(values(ALL[key]), start=1)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("section", sorted({key.partition(".")[0] for key in NUMBERS}))
def test_a_number_at_its_bounds_is_run_or_refused(section, corpus, tmp_path):
    cases = []
    for key in NUMBERS:
        if key.partition(".")[0] == section:
            cases += command_lines(key, corpus, tmp_path / key)
    process = subprocess.run(
        [sys.executable, bounded_main.__file__],
        input="".join(json.dumps(words) + "\n" for words in cases),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    ended = [json.loads(line) for line in process.stdout.splitlines()]
    wrong = [
        (words[-2], code, said[-300:]) for words, (code, said) in zip(cases, ended, strict=False) if code not in ENDS
    ]
    assert not wrong
    assert len(ended) == len(cases), (cases[len(ended)], process.stderr[-3000:])
