"""Promises about what is asked: nonsense, attacks, other experiments and divergence end with a code and a message."""

import os
import random
import shutil
from pathlib import Path

import torch
from cells import TIED, Cell, Place, run
from damages import files_of, is_clear, reading, runs_left
from promises import Table
from results import difference, result
from safetensors.torch import load_file

from tietrain.runs import record as runs

SECRET = "correct-horse-battery-staple"
# A pickle that makes a file where it is loaded.
PICKLE = b"cposix\nsystem\n(S'touch " + b"%s" + b"'\ntR."

MALFORMED = (
    "sed=1", "seed=-1", "seed=x", "+seed2=1", "tying=nope", "tying=[none,three_way]", "tying.ties.x.rule=cycle",
    "model.n_heads=3", "model.d_model=0", "model.dropout=1", "model.norm=none", "optim.lr=-1", "optim.lr=nan",
    "optim.warmup=2", "optim.schedule=linear", "train.max_steps=0", "train.batch_tokens=0", "train.ema=1", "task.window=1",
    "data=nope", "data.kind=words", "data.splits.train=[]", "data.splits.train=[absent.a]", "data.splits.train=[.]",
    "data.splits.train=[pipe]", "data.splits.train=[empty]", "data.splits.train=[latin1]", "data.splits.train=[zeros]",
    "data.splits.train=[cut.gz]", "+data.splits.a/b=[train.a]", "study=../x", "study=", "study=.hidden", "run_dir=/proc/x",
    "init_from=absent", "init_from=.", "train.max_steps=1e", "model={", "-cd=absent", "hardware.device=tpu",
    "data=jsonl data.splits.train=[empty]", "data=jsonl data.splits.train=[train.a]", "data=tsv data.splits.train=[train.a]",
    "data=parquet data.splits.train=[train.a]", "optim.betas=[1,2]", "optim.betas=3", "optim.eps=0", "seed=1,2",
    "hydra.mode=x", "--nope", "study=${oc.env:HOME}", "study=${nope}",
)  # fmt: skip


def give_nonsense(place: Place, n: int, draw: random.Random, table: Table) -> None:
    """Promise 5: malformed settings and texts are refused with 2, 3 or 5, in few lines; nothing is complete."""
    row, base = table.row("5 malformed input: a clear error"), Cell("lm", "none").command("null")[:-1]
    os.mkfifo(place.folder / "pipe")
    for name, content in (
        ("empty", b""),
        ("latin1", b"caf\xe9\n"),
        ("zeros", b"a\0b\n"),
        ("cut.gz", b"\x1f\x8b\x08\0ab"),
    ):
        (place.folder / name).write_bytes(content)
    for text in MALFORMED[:n] if n < len(MALFORMED) else MALFORMED:
        directory = place.fresh("nonsense")
        mine = text.split()
        keys = {word.split("=")[0] for word in mine}
        words = [word for word in base if word.split("=")[0] not in keys]
        run_dir = [] if keys & {"run_dir", "study"} else [f"run_dir={directory.name}"]
        ended = run([*words, *run_dir, *mine], place.folder)
        row.check(is_clear(ended, (2, 3, 5)) and runs_left(directory), f"{text}: exit {ended.code}: {ended.err[-300:]}")


def attack(place: Place, n: int, draw: random.Random, table: Table) -> None:
    """Promise 6: no file of a run directory, no setting and no name runs code, writes elsewhere or reads a secret."""
    row, cell, canary = table.row("6 no code from data"), TIED[0], place.folder / "canary"
    finished = place.fresh("attacked")
    place.run(cell, finished)
    pickled = PICKLE % str(canary).encode()
    texts = (
        b"!!python/object/apply:os.system ['touch " + str(canary).encode() + b"']\n",
        b"task: {_target_: os.system, _args_: ['touch " + str(canary).encode() + b"']}\n",
        b"seed: ${oc.env:TORTURE_SECRET}\n",
        b"a: &a [x]\nb: &b [*a,*a]\nc: [*b,*b]\n",
    )
    attacks: list[tuple[Path, bytes]] = [(path.relative_to(finished), pickled) for path in files_of(finished)]
    attacks += [(Path(runs.CONFIG), text) for text in texts]
    os.environ["TORTURE_SECRET"] = SECRET
    for name, content in attacks[:n]:
        directory = place.fresh("attack")
        shutil.copytree(finished, directory)
        (directory / name).write_bytes(content)
        for words in (reading(directory, finished)[3], cell.command(directory.name)):
            ended = run(words, place.folder)
            row.check(
                is_clear(ended, (0, 2, 3), 200) and not canary.exists(), f"{name}: {ended.code} {ended.err[-300:]}"
            )
        shutil.rmtree(directory)
    words = ["study=${oc.env:TORTURE_SECRET}", "data.root=${oc.env:TORTURE_SECRET}", "+x=${oc.env:TORTURE_SECRET}"]
    words += ["data.root=${eval:1}", "data._target_=os.system", "+tying.ties.a._target_=os.system", "study=a/../../b"]
    words += ["+tying.ties.a={_target_: os.system}", "+hydra.job.env_set.A=${oc.env:TORTURE_SECRET}"]
    for word in words[:n]:
        ended = run([*cell.command("null")[:-1], word], place.folder)
        row.check(ended.code == 2, f"{word}: exit {ended.code}: {ended.err[-300:]}")
    written = [
        path for path in files_of(place.folder) if path.stat().st_size < 10**7 and SECRET.encode() in path.read_bytes()
    ]
    said = [path for path in written if not path.name.startswith(".said")]
    row.check(not said, f"the secret is in {said}")
    row.check(not canary.exists(), "code was run")


def diverge(place: Place, n: int, draw: random.Random, table: Table) -> None:
    """Promise 10: a run that diverges ends with 4, and nothing that is not finite is kept."""
    row = table.row("10 nothing that is not finite is saved")
    for i in range(n):
        cell, directory = TIED[i % len(TIED)], place.fresh("diverged")
        ended = place.run(
            cell, directory, "optim=sgd", f"optim.lr=1e{6 + 8 * (i % 4)}", "optim.clip_norm=null", "optim.warmup=0"
        )
        kept = list((directory / runs.CHECKPOINTS).rglob("*.safetensors"))
        finite = all(torch.isfinite(t).all() for path in kept for t in load_file(path).values())
        row.check(
            ended.code == 4 and "step" in ended.err and finite, f"{cell.name}: exit {ended.code} {ended.err[-200:]}"
        )


def ask_for_another(place: Place, n: int, draw: random.Random, table: Table) -> None:
    """Promise 9: another experiment is refused by name and nothing is touched; the same one elsewhere is not."""
    row, cell, stopped = (
        table.row("9 never another experiment"),
        Cell("lm", "pre_softmax", ("optim.schedule=constant",)),
        place.fresh("stopped"),
    )
    place.run(cell, stopped, "train.max_steps=8")
    (place.folder / "moved").mkdir(exist_ok=True)
    for path in place.folder.glob("*.a"):
        shutil.copy(path, place.folder / "moved" / path.name)
        (place.folder / f"other.{path.name}").write_text(path.read_text().replace("bird", "fish"))
    changes = {
        "tying=universal": 2, "seed=2": 2, "optim.lr=1e-4": 2, "model.dropout=0.3": 2, "model.vocab_size=60": 2,
        "data.kind=bpe": 2, "optim.schedule=cosine": 2, "train.max_steps=5": 2, "train.batch_tokens=64": 2,
        "optim.warmup=0.5": 2, "data.splits.train=[other.train.a]": 2,
        "data.root=moved": 0, "train.checkpoint_every=5": 0, "train.max_steps=12": 0,
    }  # fmt: skip
    for change, code in list(changes.items())[:n]:
        directory = place.fresh()
        shutil.copytree(stopped, directory)
        before = {path: path.read_bytes() for path in files_of(directory / runs.CHECKPOINTS)}
        ended = place.run(cell, directory, "train.max_steps=8", change)
        names = code == 0 or change.split("=")[0] in ended.err or "other text" in ended.err
        same = code == 0 or before == {path: path.read_bytes() for path in files_of(directory / runs.CHECKPOINTS)}
        row.check(ended.code == code and names and same, f"{change}: exit {ended.code} {ended.err[-200:]}")
        if change == "train.max_steps=12":
            found = difference(result(directory), place.reference(cell)[0])
            row.check(not found, f"a longer budget: {found}")
