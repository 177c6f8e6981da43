"""Every architecture on the generated corpus, offline, from the command line to its scores."""

import pytest

from tietrain.cli.main import main
from tietrain.runs import record as runs

TINY = [
    "data.preset=tiny",
    "model=tiny",
    "model.vocab_size=500",
    "train.batch_tokens=2048",
    "train.max_steps=3",
    "task.max_output_ratio=0",
    "task.max_output_extra=2",
    "task.metrics=[bleu]",
]
RUNS = {
    "post-editing": ["task=mt", "data.columns=[a,b_mt,b]", "tying=[three_way,one_encoder]"],
    "two attentions": ["task=mt", "data.columns=[a,b_mt,b]", "model.source_attention=each", "tying=cross_attentions"],
    "vectors": ["task=mt", "data.columns=[a_mt,features,b]", "+data.features.features=32", "tying=one_encoder"],
    "several decoders": [
        "task=mt",
        "data.columns=[a,b,c]",
        "task.directions=[a-b,a-c]",
        "model.decoders=each",
        "tying=[three_way,partial_decoders]",
    ],
    "zero-shot": [
        "task=mt",
        "data.columns=[a,b,c]",
        "task.directions=[a-b,b-a,a-c]",
        "task.zero_shot=[b-c]",
        "task.disjoint=true",
        "task.temperature=5",
        "+task.train_pairs.a-c=200",
        "tying=three_way",
    ],
    "another alphabet": ["task=mt", "data.alphabet_b=other", "tying=three_way", "model.positions=learned"],
    "masked": ["task=mlm", "tying=[pre_softmax,universal]"],
}


# Several decoders and zero-shot directions of files are in test_many_languages.
SLOW = ("several decoders", "zero-shot")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in RUNS])
def test_run_of_every_architecture_has_scores(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*TINY, *RUNS[name], "run_dir=run"]) == 0
    run = tmp_path / "run"
    scores = runs.read_json(run / runs.EVAL)["splits"]
    generalisation = set() if name == "masked" else {"held", "rare", "long"}
    assert {split.split(".")[0] for split in scores} == {"valid", "test"} | generalisation
    for split, found in scores.items():
        nats = found["nats_per_token"]
        assert 3 < nats < 12, split
        assert found.get("excess_nats", 1) > 0 and found.get("oracle_bleu", 100) > 50
    audit = runs.read_json(run / runs.AUDIT)
    assert audit["start"]["params"] == audit["loaded"]["params"] == runs.read_json(run / runs.LEDGER)["params"]
    if name == "post-editing":
        # The machine translation gives away how its reference was drawn: no oracle that knows the meaning alone bounds it.
        assert not {"oracle_bleu", "excess_nats", "generator_nats"} & set(scores["test"]) and "legal" in scores["test"]
