"""One value per experiment: each derived once, widths of real vocabularies, an arm without its seed."""

from types import SimpleNamespace

import pytest

from tietrain.config.compose import compose_config
from tietrain.errors import TyingError
from tietrain.train import experiment as module
from tietrain.train.experiment import Experiment

VOCABULARIES = {stack: SimpleNamespace(size=123, fingerprint="0a1b") for stack in ("encoder", "decoder")}


def make(*words) -> Experiment:
    return Experiment(compose_config(["task=mt", *words]))


def test_experiment_derives_each_value_once(monkeypatch):
    calls = []
    for name in ("make_shape", "make_plan", "count_params", "count_flops", "result_settings", "find_place"):
        derive = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, name=name, derive=derive: calls.append(name) or derive(*args))
    experiment = make()
    assert not calls
    for _ in range(2):
        assert experiment.params.params and experiment.flops.route and experiment.settings and experiment.directory
    assert sorted(calls) == sorted(set(calls)) and len(calls) == 6


def test_with_vocabularies_changes_shape_and_plan_but_not_what_a_run_is_known_by():
    experiment = make("tying=three_way", "model.vocab_size=500")
    real = experiment.with_vocabularies(VOCABULARIES)
    assert [stack.vocab_size for stack in experiment.shape.stacks] == [500, 500]
    assert [stack.vocab_size for stack in real.shape.stacks] == [123, 123]
    assert {stack.vocabulary for stack in real.shape.stacks} == {"0a1b"}
    assert real.plan.hash != experiment.plan.hash
    assert real.params.params < experiment.params.params
    assert (real.directory, real.settings) == (experiment.directory, experiment.settings)
    assert experiment.vocab_sizes is None and real.vocab_sizes == {"encoder": 123, "decoder": 123}


def test_plan_refuses_ties_of_other_vocabularies():
    real = {**VOCABULARIES, "decoder": SimpleNamespace(size=123, fingerprint="ffff")}
    experiment = make("tying=three_way").with_vocabularies(real)
    with pytest.raises(TyingError):
        _ = experiment.plan
    assert experiment.directory.name.startswith("mt-three_way-s1-")  # it can be named, and recorded as not applicable


def test_directory_is_run_dir_or_a_folder_of_the_study():
    assert str(make("run_dir=a/b").directory) == "a/b"
    directory = make("study=mine").directory
    assert directory.parts[:2] == ("outputs", "mine") and directory.name.startswith("mt-none-s1-")


def test_arm_leaves_out_the_seed_and_the_batches():
    prints = {"corpus": "c", "batches": "b"}
    arm = make().arm(prints)
    assert make("seed=2").arm({**prints, "batches": "other"}) == arm
    assert len({arm, make("optim.lr=0.5").arm(prints), make("tying=three_way").arm(prints)}) == 3
    assert make().arm({**prints, "corpus": "d"}) != arm


def test_build_model_starts_from_seed_and_name():
    words = ("model=tiny", "model.vocab_size=50")
    model, other = make(*words).build_model(), make(*words, "seed=2").build_model()
    slot = "decoder.0.ffn.in.weight"
    assert model.plan.hash == make(*words).plan.hash
    assert not model.parameter(slot).equal(other.parameter(slot))
    assert make(*words, "tying=cycle").build_model().parameter(slot).equal(model.parameter(slot))
