"""The main job as users run it: files, grids, skipping, stopping and continuing, refusals in place."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tietrain.cli.main import main
from tietrain.runs import record as runs
from tietrain.runs.metrics import read_metrics
from tiny_run import reproducible

TINY = [
    "data.preset=tiny",
    "model=tiny",
    "model.vocab_size=400",
    "train.batch_tokens=512",
    "train.max_steps=6",
    "train.checkpoint_every=2",
    "train.log_every=1",
    "train.eval_every=3",
    "hardware.precision=fp32",
    # An untrained model does not end its translations: most of the time would go into writing them.
    "task.max_output_ratio=0",
    "task.max_output_extra=4",
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def only_run(folder: Path) -> Path:
    (found,) = runs.find_runs(folder)
    return found


@pytest.mark.parametrize(("task", "tying"), [("lm", "pre_softmax"), ("mt", "[three_way,cross_layer]")])
def test_run_leaves_a_whole_directory_and_is_found_again(place, capfd, task, tying):
    command = [f"task={task}", f"tying={tying}", *TINY]
    assert main(command) == 0
    run = only_run(place / "outputs" / "default")
    record = runs.read_record(run)
    assert record.status == "done"
    for name in (runs.CONFIG, runs.PLAN, runs.LEDGER, runs.AUDIT, runs.METRICS, runs.EVAL, runs.LOG):
        assert (run / name).exists(), name
    scores = runs.read_json(run / runs.EVAL)["splits"]
    assert scores["test"]["ppl_token"] > 1
    assert scores["test"]["excess_nats"] > 0
    assert runs.read_json(run / runs.LEDGER)["params_saved"] > 0
    if task == "mt":
        assert len((run / "hypotheses.test.txt").read_text().splitlines()) == len(
            (run / "references.test.txt").read_text().splitlines()
        )
    check_samples(run, task)
    check_table_of_runs(run, scores["test"])
    before = (run / runs.RUN).stat().st_mtime_ns
    capfd.readouterr()
    assert main(command) == 0
    assert "is finished" in capfd.readouterr().err
    assert (run / runs.RUN).stat().st_mtime_ns == before


def check_samples(run, task):
    """A little of what the scored weights write; of translations the first lines, as they are in the files."""
    samples = runs.read_json(run / runs.EVAL)["samples"]
    if task == "lm":
        assert samples[0]["sample"].strip()
        return
    files = {"a": "sources", "reference": "references", "hypothesis": "hypotheses"}
    lines = {name: (run / f"{stem}.valid.txt").read_text().split("\n") for name, stem in files.items()}
    assert samples == [{name: lines[name][row] for name in files} for row in range(3)]


def check_table_of_runs(run, scores):
    events = EventAccumulator(str(run / runs.TENSORBOARD)).Reload()
    finals = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"] if tag.startswith("final/")}
    expected = {name: scores.get(name) for name in ("nats_per_token", "bits_per_byte", "bleu", "chrf")}
    expected |= {
        "params": runs.read_json(run / runs.LEDGER)["params"],
        "flops": runs.read_json(run / runs.EVAL)["flops"],
    }
    shown = {f"final/{name}": value for name, value in expected.items() if value is not None}
    assert finals == pytest.approx(shown, rel=1e-6)


def test_grid_records_cells_that_do_not_apply_and_continues(place, capfd, no_figures):
    assert main(["-m", "tying=none,three_way,pre_softmax", "study=grid", *TINY]) == 0
    statuses = {
        runs.read_record(run).label: runs.read_record(run).status for run in runs.find_runs(place / "outputs" / "grid")
    }
    assert statuses == {"none": "done", "three_way": "not_applicable", "pre_softmax": "done"}
    capfd.readouterr()
    assert main(["report", "outputs/grid"]) == 0
    page = (place / "outputs" / "grid" / "report" / "report.md").read_text()
    assert "One seed gives no interval, no p and no verdict" in page
    assert "three_way" in page


def test_run_of_a_scheme_that_does_not_fit_exits_2_before_any_work(place, capfd):
    assert main(["tying=three_way", *TINY]) == 2
    message = capfd.readouterr().err
    assert "pre_softmax" in message and "Traceback" not in message
    assert runs.read_record(only_run(place / "outputs")).status == "not_applicable"


def test_run_with_a_missing_corpus_exits_3_with_its_path(place, capfd):
    assert main(["data=text", "data.splits.train=[absent.txt]", "data.splits.valid=[absent.txt]", *TINY[1:]]) == 3
    message = capfd.readouterr().err
    assert "absent.txt" in message and "Traceback" not in message


@pytest.mark.parametrize(
    "schemes",
    [["none", "three_way"], pytest.param(["none", "shared_vocab", "three_way", "cross_layer"], marks=pytest.mark.slow)],
    ids=str,
)
def test_arms_of_one_study_share_data_order(place, schemes):
    assert main(["-m", "task=mt", f"tying={','.join(schemes)}", "study=arms", *TINY, "train.eval_every=6"]) == 0
    records = [runs.read_record(run) for run in runs.find_runs(place / "outputs" / "arms")]
    assert len({record.fingerprints["batches"] for record in records}) == 1
    assert len({record.arm for record in records}) == len(schemes)


def test_init_from_starts_from_the_parents_weights(place):
    assert main(["run_dir=parent", "tying=pre_softmax", *TINY]) == 0
    assert main(["run_dir=child", "tying=pre_softmax", "init_from=parent", *TINY]) == 0
    parent, child = (read_metrics(place / name) for name in ("parent", "child"))
    assert runs.read_record(place / "child").parent == runs.read_record(place / "parent").id
    first = [next(row for row in metrics if row["split"] == "train") for metrics in (parent, child)]
    assert first[1]["nats_per_token"] < first[0]["nats_per_token"]


VIEWED = "[pre_softmax,cross_layer,relaxed,scaled,step_signal,input_gradient]"
FACTORISED = "[three_way,cross_layer,factorised,transposed]"


@pytest.mark.parametrize(
    ("task", "number", "tying"),
    [
        ("lm", signal.SIGTERM, VIEWED),
        ("mt", signal.SIGINT, "[pre_softmax,cross_layer]"),
        pytest.param("mt", signal.SIGTERM, FACTORISED, marks=pytest.mark.slow),
    ],
)
def test_run_that_was_stopped_continues_bit_for_bit(place, task, number, tying):
    settings = [f"task={task}", f"tying={tying}", *TINY, "train.eval_every=2"]
    assert main(["run_dir=whole", *settings]) == 0
    command = [sys.executable, "-m", "tietrain", "run_dir=stopped", *settings]
    process = subprocess.Popen([*command, "train.slow_step_seconds=1"], stderr=subprocess.DEVNULL, env=dict(os.environ))
    metrics = place / "stopped" / runs.METRICS
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= 2):
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(number)
    time.sleep(0.1)  # of two that come together the system does not say which was first
    while process.poll() is None:  # more of them change nothing, whenever they come
        process.send_signal(signal.SIGTERM)
        time.sleep(0.01)
    assert process.returncode == 128 + number
    assert runs.read_record(place / "stopped").status == "interrupted"
    assert main(["run_dir=stopped", *settings]) == 0
    final = "checkpoints/final/model.safetensors"
    assert (place / "stopped" / final).read_bytes() == (place / "whole" / final).read_bytes()
    stopped, whole = (reproducible(read_metrics(place / name)) for name in ("stopped", "whole"))
    assert stopped == whole
    stopped, whole = (json.loads((place / name / runs.EVAL).read_text())["splits"] for name in ("stopped", "whole"))
    assert stopped == whole


def test_run_refuses_a_directory_of_another_experiment(place, capfd):
    assert main(["run_dir=run", *TINY]) == 0
    assert main(["run_dir=run", *TINY, "optim.lr=1e-3"]) == 2
    assert "optim.lr" in capfd.readouterr().err


def test_run_out_of_memory_continues_in_smaller_parts(place, capfd, monkeypatch):
    from tietrain.train import learner

    assert main(["run_dir=whole", *TINY]) == 0
    take, parts = learner.train_step, "hardware.device_batch_tokens=128"

    def in_little_memory(*args, hardware, step, **options):
        if step > 3 and not hardware.device_batch_tokens:
            raise MemoryError
        return take(*args, hardware=hardware, step=step, **options)

    monkeypatch.setattr(learner, "train_step", in_little_memory)
    capfd.readouterr()
    assert main(TINY) == 7
    assert "hardware.device_batch_tokens=256` continues it with smaller parts" in capfd.readouterr().err
    assert main([*TINY, parts]) == 0
    assert "device_batch_tokens was None and is 128" in capfd.readouterr().err
    run = only_run(place / "outputs")
    assert runs.read_record(run).machine["device_batch_tokens"] == 128
    cut, whole = (
        runs.read_json(folder / runs.EVAL)["splits"]["test"]["ppl_token"] for folder in (run, place / "whole")
    )
    assert cut == pytest.approx(whole, rel=1e-4)


def test_run_with_a_bug_exits_70_and_names_its_log(place, capfd, monkeypatch):
    import tietrain.data.prepare

    def broken(config):
        raise RuntimeError("boom")

    monkeypatch.setattr(tietrain.data.prepare, "prepare", broken)
    assert main(["run_dir=run", *TINY]) == 70
    assert "boom" in (place / "run" / runs.LOG).read_text()
    assert "Traceback" not in capfd.readouterr().err


def test_run_refuses_a_finished_directory_of_other_text(place, capfd):
    lines = "\n".join(f"line {i} of a text about {i % 7} things" for i in range(400))
    for name in ("train", "valid"):
        (place / name).write_text(lines)
    command = [
        "run_dir=run",
        "data=text",
        "data.splits={train: [train], valid: [valid]}",
        *TINY[1:],
        "model.vocab_size=60",
    ]
    assert main(command) == 0
    (place / "train").write_text(lines + "\nmore")
    capfd.readouterr()
    assert main(command) == 2
    assert "other text" in capfd.readouterr().err


def test_run_that_was_refused_does_not_keep_its_directory(place):
    assert main(["run_dir=run", "tying=three_way", *TINY]) == 2
    assert main(["run_dir=run", "tying=pre_softmax", *TINY]) == 0


def test_init_from_refuses_another_vocabulary_and_names_the_setting_that_takes_the_parents(place, capfd):
    assert main(["run_dir=parent", *TINY]) == 0
    capfd.readouterr()
    assert main(["run_dir=child", "init_from=parent", *TINY, "data.seed=5"]) == 2
    assert "give data.vocabulary=parent " in capfd.readouterr().err
    assert main(["run_dir=other", "init_from=parent", *TINY, "data.seed=5", "data.root=elsewhere"]) == 2
    assert f"give data.vocabulary={place / 'parent'} " in capfd.readouterr().err
    words = [word for word in TINY if "vocab_size" not in word]
    assert main(["run_dir=child", "init_from=parent", *words, "data.seed=5", "data.vocabulary=parent"]) == 0
    parent, child = (runs.read_record(place / name).fingerprints for name in ("parent", "child"))
    assert parent["vocabulary.decoder"] == child["vocabulary.decoder"]
    assert parent["corpus"] != child["corpus"]


def test_run_refuses_positions_too_short_for_a_test_sentence_before_training(place, capfd):
    settings = ["task=mt", "model.positions=learned", "model.max_len=45", "task.max_len=44", "run_dir=run", *TINY]
    assert main(settings) == 2
    assert "model.max_len=45" in capfd.readouterr().err
    assert not (place / "run" / runs.METRICS).exists()


def test_run_makes_a_lost_score_file_again(place):
    assert main(["run_dir=run", *TINY]) == 0
    before = (place / "run" / runs.EVAL).read_text()
    (place / "run" / runs.EVAL).unlink()
    assert main(["run_dir=run", *TINY]) == 0
    assert json.loads((place / "run" / runs.EVAL).read_text())["splits"] == json.loads(before)["splits"]


def test_arms_with_other_vocabularies_have_the_same_text_in_the_same_batches(place, capfd, no_figures):
    command = ["study=sizes", *(word for word in TINY if "vocab_size" not in word)]
    assert main(["-m", "model.vocab_size=300,400", "data.kind=unigram,char", *command]) == 0
    records = [runs.read_record(run) for run in runs.find_runs(place / "outputs" / "sizes")]
    assert len({record.fingerprints["batches"] for record in records}) == 1
    assert len({record.fingerprints["vocabulary.decoder"] for record in records}) == 3
    for record in records:
        assert record.settings["train.batch_by"] == "chars"
        assert any("batches are cut by characters" in note for note in record.notes)
    assert main(["report", "outputs/sizes"]) == 0
    page = place / "outputs" / "sizes" / "report" / "report.md"
    assert "the same batches" not in page.read_text()
    # A cell alone is found as the run of the grid.
    capfd.readouterr()
    assert main([*command, "model.vocab_size=300", "data.kind=char", "train.batch_by=chars"]) == 0
    assert "is finished" in capfd.readouterr().err
    assert main([*command, "model.vocab_size=300", "data.kind=char", "study=tokens"]) == 0
    assert main([*command, "model.vocab_size=300", "study=tokens"]) == 0
    assert main(["report", "outputs/tokens"]) == 0
    page = place / "outputs" / "tokens" / "report" / "report.md"
    assert "`train.batch_by=chars` makes them the same text" in page.read_text()


def test_run_refuses_windows_of_characters_with_too_many_tokens_before_training(place, capfd):
    settings = ["model.positions=learned", "model.max_len=500", "train.batch_by=chars", "data.kind=char"]
    assert main(["run_dir=run", *settings, *TINY]) == 2
    message = capfd.readouterr().err
    assert "model.max_len=500: a training window has 512 tokens" in message and "model.max_len=512" in message
    assert not (place / "run" / runs.METRICS).exists()
    assert main(["run_dir=run", "model.max_len=512", *settings[:1], *settings[2:], *TINY]) == 0
