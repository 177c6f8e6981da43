"""A whole run that averages: which weights are scored, on several named test sets, once, and the same after a break."""

import json
import math

import pytest

from tietrain.cli.main import main
from tietrain.runs import record as runs
from tietrain.runs.scores import METRICS

TINY = [
    *("model=tiny", "model.vocab_size=80", "train.batch_tokens=256", "train.max_steps=8"),
    *("train.checkpoint_every=3", "train.log_every=2", "train.eval_every=2"),
]
SPLITS = {"train": 200, "valid": 20, "test_a": 11, "test_b": 7}
AVERAGED = ["train.average=best", "train.n_averaged=2", "train.ema=0.8"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Pairs of files for train, valid and two test sets."""
    monkeypatch.chdir(tmp_path)
    for split, n in SPLITS.items():
        for side, words in (("en", "one two three four"), ("de", "eins zwei drei vier")):
            lines = [f"{words.split()[i % 4]} {n + i} {words.split()[i % 3]}" for i in range(n)]
            (tmp_path / f"{split}.{side}").write_text("\n".join(lines) + "\n")
    return tmp_path


def command(task, run_dir, *more):
    sides = ("en", "de") if task == "mt" else ("de",)
    files = {split: "[" + ",".join(f"{split}.{side}" for side in sides) + "]" for split in SPLITS}
    # The data file names train, valid and test; test sets of other names are added.
    splits = [f"{'+' if split.startswith('test_') else ''}data.splits.{split}={files[split]}" for split in files]
    return [f"task={task}", "data=text", *splits, f"run_dir={run_dir}", *TINY, *more]


def scored(directory):
    return json.loads((directory / runs.EVAL).read_text())


def check_documents(directory):
    rows = [json.loads(line) for line in (directory / runs.DOCUMENTS).read_text().splitlines()]
    for split, n in SPLITS.items():
        if split == "train":
            continue
        mine, scores = [row for row in rows if row["split"] == split], scored(directory)["splits"][split]
        assert len(mine) == n
        for key in ("nats", "tokens", "bytes"):
            assert math.fsum(row[key] for row in mine) == scores[key], (split, key)


def test_run_has_every_score_on_every_test_set(place, capsys, no_figures):
    words = [*AVERAGED, f"task.metrics=[{','.join(METRICS)}]", "task.bleu_tokenize=char", "tying=three_way"]
    assert main(command("mt", "run", *words)) == 0
    run, body = place / "run", scored(place / "run")
    said = "mean of the 2 evaluations with the lowest nats_per_token on valid, of the exponential moving average (decay 0.8)"
    assert body["checkpoint"]["chosen_by"] == said
    assert body["checkpoint"]["averaged_steps"] == [6, 8] and body["checkpoint"]["step"] == 8
    assert set(body["splits"]) == {"valid", "test_a", "test_b"}
    for split in body["splits"]:
        assert {*METRICS, "length_ratio"} <= body["splits"][split].keys()
    assert set(METRICS) < set(body["signatures"]) and "tok:char" in body["signatures"]["bleu"]
    assert len((run / "hypotheses.test_a.txt").read_text().splitlines()) == 11
    check_documents(run)
    audit = runs.read_json(run / runs.AUDIT)
    assert audit["start"] == audit["end"] == audit["loaded"]
    assert main(["report", "run"]) == 0
    page = capsys.readouterr().out
    assert "### Scores on test\\_a" in page and "### Scores on test\\_b" in page
    assert "chrF++ | TER | length ratio" in page and f"Scored weights: `{said}`, at step `8`." in page


@pytest.mark.parametrize("average", [AVERAGED, ["train.average=last", "train.n_averaged=3"]], ids=["ema", "last"])
def test_run_that_was_broken_off_scores_the_same_weights(place, capsys, monkeypatch, average):
    from tietrain.train import learner

    assert main(command("mt", "whole", *average)) == 0
    take = learner.train_step

    def breaks(*args, step, **options):
        if step == 6:
            raise MemoryError
        return take(*args, step=step, **options)

    monkeypatch.setattr(learner, "train_step", breaks)
    assert main(command("mt", "cut", *average)) == 7
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert main(command("mt", "cut", *average)) == 0
    for name in ("checkpoints/average/model.safetensors", "checkpoints/final/model.safetensors", runs.DOCUMENTS):
        assert (place / "cut" / name).read_bytes() == (place / "whole" / name).read_bytes(), name
    assert scored(place / "cut")["splits"] == scored(place / "whole")["splits"]
    assert scored(place / "cut")["checkpoint"] == scored(place / "whole")["checkpoint"]
    capsys.readouterr()
    assert main(["compare", "cut", "whole", "--split", "test_b", "--samples", "20"]) == 0
    assert "A and B wrote the same translations" in capsys.readouterr().out
    (place / "whole" / runs.EVAL).unlink()  # a lost score file is made again, from the average that is there
    for path in (place / "whole" / "checkpoints").glob("evaluated_*/*"):
        path.unlink()
    assert main(command("mt", "whole", *average)) == 0
    assert scored(place / "whole")["splits"] == scored(place / "cut")["splits"]
    assert scored(place / "whole")["checkpoint"] == scored(place / "cut")["checkpoint"]


def test_run_of_a_language_model_stores_nats_per_line(place, capsys):
    for name, rate in (("a", "1e-3"), ("b", "1e-2")):
        assert main(command("lm", name, "task.window=16", "task.eval_stride=8", f"optim.lr={rate}")) == 0
        check_documents(place / name)
    assert scored(place / "a")["checkpoint"]["chosen_by"] == "lowest nats_per_token on valid"
    capsys.readouterr()
    assert main(["compare", "a", "b", "--samples", "50", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["split"], body["n_lines"]) == ("test_a", 11)
    for side, name in (("a", "a"), ("b", "b")):
        expected = scored(place / name)["splits"]["test_a"]["nats_per_token"]
        assert body["metrics"]["nats_per_token"][side] == pytest.approx(expected)


def test_run_refuses_a_test_set_that_is_not_added(place, capsys):
    assert main(["data=text", "data.splits={train: [train.de], valid: [valid.de], test_a: [test_a.de]}"]) == 2
    assert (
        "data.splits.test_a: no file names it, so it must be added; write +data.splits.test_a=[FILE]"
        in capsys.readouterr().err
    )
