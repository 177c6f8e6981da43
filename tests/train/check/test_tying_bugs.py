"""Tying bugs seen in public systems: a test a row, named after the row, with its symptom and address.

Rows that cannot apply, and why: 46 no adapter merge; 47 no quantized weights; 48 no ONNX export.
"""

import copy
import functools
import itertools
import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import nn

from expected_ties import EXPECTED, NOT_FOR_LM, expected_owners, six_layers, ties_of
from tietrain.cli.main import main
from tietrain.config import OptimConfig
from tietrain.config.compose import compose_config
from tietrain.config.layout import make_shape as shape_of_config
from tietrain.errors import SettingsError, TyingError
from tietrain.model.audit import AuditError, audit_checkpoint_keys, audit_optimizer
from tietrain.model.cache import Cache
from tietrain.model.loss import token_loss
from tietrain.model.transformer import Transformer
from tietrain.plan.flops import count_flops, length_units
from tietrain.plan.params import count_params
from tietrain.plan.schemes import make_plan
from tietrain.plan.slots import ModelShape
from tietrain.plan.tables import Tables
from tietrain.plan.views import VIEWS
from tietrain.train.check.checks import check_decay, check_gradients, check_params, count_matmul_flops
from tietrain.train.check.lifecycle import WAYS, check_compile, check_ties
from tietrain.train.check.reference import draw_batches, untied_twin
from tietrain.train.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_final
from tietrain.train.hardware import resolve_hardware
from tietrain.train.optim import build_optimizer, train_step
from tietrain.train.tasks.task import batch_loss
from tiny_models import make_shape
from tiny_run import RandomTask, build_model, tiny_config

ROOT = Path(__file__).parents[3]
# Row -> symptom and address, and the test of it beside others of its room.
STEPS = "tests/train/test_processes.py::test_steps_of_two_and_three_processes_are_those_of_one"
UNITS = "tests/plan/test_units.py::test_units_have_what_the_same_layers_read"
ELSEWHERE = {
    1: ("Validation high after consolidation: https://github.com/facebookresearch/lingua/issues/74", STEPS),
    6: ("A shared parameter in two FSDP2 groups: https://github.com/huggingface/accelerate/pull/4171", UNITS),
    7: ("Size mismatch inside FSDP1: https://github.com/Lightning-AI/pytorch-lightning/pull/21613", UNITS),
    8: ("FSDP2 refused for tied tables: https://github.com/NVIDIA/Megatron-LM/issues/1447", STEPS),
    10: (
        "Wrong one of two tensors exported: https://github.com/Lightning-AI/litgpt/issues/1727",
        "tests/train/test_hugging_face.py::test_model_is_the_same_in_transformers_and_back",
    ),
    27: (
        "One update aggregates all visits of a loop: https://github.com/AkihikoWatanabe/paper_notes/issues/6139",
        "tests/train/test_anatomy.py::test_gradients_of_uses_add_up_to_that_of_the_step",
    ),
    38: ("Marked ready twice in DDP: https://github.com/allenai/longformer/issues/63", STEPS),
}

# One scheme for each way to tie: tables, layers, layers of two stacks, projections, positions.
MECHANISMS = [("lm", "pre_softmax"), ("mt", "three_way"), ("mt", "cycle_rev"), ("mt", "one_layer"), ("lm", "query_key")]
MECHANISMS += [("mt", "positions")]
EVERY = [(task, name) for task in ("lm", "mt") for name in EXPECTED if task == "mt" or name not in NOT_FOR_LM]
# The default suite takes one scheme of each mechanism; `tietrain check` proves the same for every scheme.
CASES = [case if case in MECHANISMS else pytest.param(*case, marks=pytest.mark.slow) for case in EVERY]


def model_of(task: str, *names: str, seed: int = 1, embed_scale: float = 4.0, **options) -> Transformer:
    ties = {label: tie for name in names for label, tie in ties_of(name).items()}
    model = Transformer(make_plan(six_layers(task, **options), ties), tables=Tables(0.02, embed_scale=embed_scale))
    model.initialize(seed)
    return model


@functools.cache
def sound(task: str, name: str) -> Transformer:
    """One model for all tests that only look."""
    return model_of(task, name)


def owners_of(model: Transformer, name: str) -> dict[str, str]:
    """Slot -> owner, as typed by hand."""
    return owners_of_shape(model.shape, name)


@functools.cache
def owners_of_shape(shape: ModelShape, name: str) -> dict[str, str]:
    return expected_owners(shape, EXPECTED[name])


def assert_tied(model: Transformer, name: str) -> None:
    """Every slot reads the very tensor of the owner typed by hand, and owners have memory of their own."""
    owners = owners_of(model, name)
    for slot, owner in owners.items():
        assert model.parameter(slot) is model.parameter(owner), f"{slot} does not read {owner}"
    assert len({model.parameter(slot).data_ptr() for slot in owners}) == len(set(owners.values()))


def logits(model: Transformer) -> torch.Tensor:
    batch = draw_batches(model, 2, 4, 5)[0]
    with torch.no_grad():
        return model.logits(model(batch.sources, batch.tgt_in_ids))


def numbers(names, model: Transformer) -> int:
    return sum(model.plan.slots.named(name).size for name in names)


def test_every_row_is_here():
    tested = {int(n) for name in dir(sys.modules[__name__]) for n in re.findall(r"^test_bug_(\d\d)_", name)}
    excused = {int(n) for n in re.findall(r"(\d+) no ", __doc__)}
    rows = [*tested, *excused, *ELSEWHERE]
    assert sorted(rows) == list(range(1, 49))
    for _, test in ELSEWHERE.values():
        path, name = test.split("::")
        assert f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8")


# Tie lost or never made.


@pytest.mark.parametrize(("task", "name"), MECHANISMS[2:5])
def test_bug_02_first_step_after_resume_spikes(tmp_path, task, name):
    """First step after resume spikes: https://github.com/NVIDIA-NeMo/Automodel/pull/2511"""
    model, again = model_of(task, name), model_of(task, name, seed=2)
    optimizers = [build_optimizer(m, OptimConfig(lr=1e-2)) for m in (model, again)]

    def step(m, optimizer, number):
        batch = draw_batches(m, 3, 5, 7, seed=number)[0]
        loss = batch_loss(m, batch, 0.0).objective
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    for number in range(3):
        step(model, optimizers[0], number)
    save_checkpoint(tmp_path, 3, model, optimizers[0], {})
    load_checkpoint(tmp_path, again, optimizers[1], lambda body: None, lambda line: None)
    assert [step(model, optimizers[0], n) for n in (3, 4)] == [step(again, optimizers[1], n) for n in (3, 4)]
    with safe_open(next(tmp_path.rglob("model.safetensors")), framework="pt") as f:
        assert set(f.keys()) == set(owners_of(model, name).values()), "a name is left out where it is another's, only"


@pytest.mark.parametrize(("task", "name"), CASES)
def test_bug_03_tied_by_config_independent_in_memory(task, name):
    """Tied by config, independent in memory: https://github.com/pytorch/torchtitan/issues/2252"""
    plan = sound(task, name).plan
    with torch.device("meta"):
        model = Transformer(plan)
    model.to_empty(device="cpu")
    assert_tied(model, name)


@pytest.mark.parametrize(("task", "name"), CASES)
def test_bug_04_tie_lost_where_a_parameter_is_made_again(task, name):
    """Tie lost under empty-weight init: https://github.com/huggingface/accelerate/issues/3668"""
    model = model_of(task, name)
    before = logits(model)
    for module in model.modules():
        for leaf, parameter in list(module.named_parameters(recurse=False)):
            module.register_parameter(leaf, nn.Parameter(parameter.detach().clone()))
    assert_tied(model, name)
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize(("task", "name"), CASES)
def test_bug_05_tie_lost_through_assign(task, name):
    """Tie lost through assign=True: https://github.com/EvolvingLMMs-Lab/lmms-engine/pull/157"""
    model = sound(task, name)
    with torch.device("meta"):
        again = Transformer(model.plan, tables=model.tables)
    again.load_state_dict({key: p.clone() for key, p in model.state_dict().items()}, assign=True)
    assert_tied(again, name)
    assert torch.equal(logits(again), logits(model))
    aliased = {slot: model.parameter(slot).detach() for slot in owners_of(model, name)}
    if len(aliased) > len(model.state_dict()):
        with pytest.raises(RuntimeError, match="Unexpected"):
            again.load_state_dict(aliased, assign=True)


@pytest.mark.parametrize(("task", "name"), [("lm", "ffn_only"), ("mt", "shared_enc_dec"), ("mt", "cross_attn")])
def test_bug_09_a_cross_layer_tie_breaks_saving(tmp_path, task, name):
    """Cross-layer FFN tie breaks saving or FSDP: https://github.com/facebookresearch/lingua/issues/84"""
    model, again = model_of(task, name), model_of(task, name, seed=2)
    save_final(tmp_path, model)
    load_weights(tmp_path, again)
    assert_tied(again, name)
    assert torch.equal(logits(again), logits(model))


@pytest.mark.parametrize(("saved", "loaded"), [("none", "pre_softmax"), ("pre_softmax", "none"), ("none", "universal")])
def test_bug_11_a_flag_forced_a_tie_over_a_trained_head(tmp_path, saved, loaded):
    """Config flag forced a tie over a trained head: https://github.com/NVIDIA-NeMo/Automodel/pull/2942"""
    save_final(tmp_path, model_of("lm", saved))
    model = model_of("lm", loaded)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(SettingsError) as refused:
        load_weights(tmp_path, model)
    assert Path(refused.value.setting) == tmp_path / "checkpoints" / "final" / "model.safetensors"
    assert all(torch.equal(p, before[key]) for key, p in model.state_dict().items())


@pytest.mark.parametrize("name", ["none", "pre_softmax", "embeddings", "three_way"])
def test_bug_12_embedding_loaded_from_the_output_matrix(tmp_path, name):
    """Encoder embedding loaded from the output matrix: https://github.com/huggingface/transformers/issues/48154"""
    model, again = model_of("mt", name), model_of("mt", name, seed=2)
    save_final(tmp_path, model)
    with safe_open(next(tmp_path.rglob("model.safetensors")), framework="pt") as f:
        recorded = json.loads(f.metadata()["plan"])["owner"]
    assert recorded == owners_of(model, name), "the file says for every role whose values it has"
    load_weights(tmp_path, again)
    roles = ("encoder.embed.weight", "decoder.embed.weight", "decoder.output.weight")
    for role in roles:
        assert torch.equal(again.parameter(role), model.parameter(role)), role
    apart = len({again.parameter(role).data_ptr() for role in roles})
    assert apart == {"none": 3, "pre_softmax": 2, "embeddings": 2, "three_way": 1}[name]


@pytest.mark.parametrize(("task", "name"), MECHANISMS)
def test_bug_13_a_missing_tied_key_without_a_warning(task, name):
    """Missing tied key, no warning: https://github.com/huggingface/transformers/issues/38870"""
    model = model_of(task, name)
    (owner, *_) = [owner for owner, uses in model.plan.uses.items() if len(uses) > 1]
    kept = {key: p for key, p in model.state_dict().items() if key != owner}
    with pytest.raises(AuditError, match=re.escape(owner)):
        audit_checkpoint_keys(model.plan, kept)
    with pytest.raises(RuntimeError, match=re.escape(owner)):
        model.load_state_dict(kept)


# A flag without effect, or with the wrong one.


@pytest.mark.parametrize(("task", "name"), CASES)
def test_bug_14_option_ignored_always_tied(task, name):
    """Option ignored, always tied: https://github.com/awslabs/sockeye/pull/137"""
    assert_tied(sound(task, name), name)


@pytest.mark.parametrize("output_bias", [False, True])
@pytest.mark.parametrize("name", ["none", "pre_softmax", "three_way", "embeddings"])
def test_bug_15_option_ignored_with_another_generator(name, output_bias):
    """Option ignored with another generator: https://github.com/OpenNMT/OpenNMT-py/pull/1703

    Logits and loss are two ways to the output table: both follow the embedding's where it is tied, neither elsewhere.
    """
    model = model_of("mt", name, output_bias=output_bias)
    hidden, wanted = torch.randn(2, 3, 16), torch.tensor([[5, 6, 7], [8, 9, 0]])

    def heads():
        with torch.no_grad():
            scores = model.logits(hidden)
            loss = token_loss(model, hidden, wanted).nll
        by_hand = nn.functional.cross_entropy(scores.flatten(0, 1), wanted.flatten(), ignore_index=0, reduction="sum")
        torch.testing.assert_close(loss, by_hand, check_dtype=False)
        return scores, loss

    before = heads()
    with torch.no_grad():
        model.parameter("decoder.embed.weight").mul_(3.0)
    after = heads()
    tied = name in ("pre_softmax", "three_way")
    assert torch.equal(before[0], after[0]) == (before[1] == after[1]) == (not tied)


def test_bug_16_two_way_option_did_nothing():
    """Two-way option did nothing: https://github.com/EdinburghNLP/nematus/issues/117"""
    model = model_of("mt", "embeddings")
    source, target, output = (
        model.parameter(f"{place}.weight") for place in ("encoder.embed", "decoder.embed", "decoder.output")
    )
    assert source is target and output is not target


def test_bug_17_shared_vocabulary_flag_had_no_effect_on_embeddings():
    """Shared-vocabulary flag had no effect on embeddings: https://github.com/CUNY-CL/yoyodyne/issues/124

    Vocabulary and table are two choices, and each has a scheme.
    """
    cases = {"none": (2, 3), "shared_vocab": (1, 3), "embeddings": (1, 2), "three_way": (1, 1), "pre_softmax": (2, 2)}
    for name, (vocabularies, tables) in cases.items():
        config = compose_config(["task=mt", f"tying={name}"])
        plan = make_plan(shape_of_config(config), config.tying.ties)
        assert len({stack.vocabulary for stack in plan.slots.shape.stacks}) == vocabularies, name
        assert len([slot for slot in plan.owners if slot.kind == "table"]) == tables, name
    forced = compose_config(["task=mt", "tying=pre_softmax", "data.vocabulary=joint"])
    assert len({stack.vocabulary for stack in shape_of_config(forced).stacks}) == 1


def test_bug_18_unrelated_words_tied_by_index():
    """Unrelated words tied by index: https://github.com/marian-nmt/marian-dev/issues/502

    Vocabularies are compared by their content: equal sizes are not enough.
    """
    config = compose_config(["task=mt", "tying=three_way"])
    sizes = {"encoder": 500, "decoder": 500}
    same, other = ({"encoder": "0a1b", "decoder": content} for content in ("0a1b", "ffff"))
    assert make_plan(shape_of_config(config, sizes, same), config.tying.ties).groups
    with pytest.raises(TyingError) as refused:
        make_plan(shape_of_config(config, sizes, other), config.tying.ties)
    assert refused.value.setting.startswith("tying=three_way")


def test_bug_19_what_does_three_way_cover(capsys):
    """What does three-way cover?: https://github.com/tensorflow/tensor2tensor/issues/340

    The groups are printed by `tietrain plan`, in the words that a run prints before step 1.
    """
    assert main(["plan", "task=mt", "tying=three_way"]) == 0
    assert "encoder.embed = decoder.embed = decoder.output\n" in capsys.readouterr().out


@pytest.mark.parametrize("scale", ["1", "sqrt_d"])
def test_bug_20_untie_request_keeps_tie_and_drops_scaling(scale):
    """Untie request keeps tie and drops scaling: https://github.com/huggingface/transformers/pull/42815"""
    counts, factors = [], []
    for name in ("pre_softmax", "none"):
        config = compose_config(["task=lm", f"tying={name}", f"model.embed_scale={scale}", "model.vocab_size=700"])
        counts.append(count_params(make_plan(shape_of_config(config), config.tying.ties)).params)
        factors.append(config.model.table_values.embed_scale)
    assert counts[1] - counts[0] == 700 * config.model.d_model
    assert factors == [1.0 if scale == "1" else config.model.d_model**0.5] * 2


def test_bug_21_cross_attention_bias_tied_to_self_attention_bias():
    """Cross-attention bias tied to self-attention bias: takase/share_layer_params fairseq/models/transformer.py:863"""
    for name in EXPECTED:
        plan = make_plan(six_layers("mt"), ties_of(name))
        self_attention = {plan.owner[slot.name] for slot in plan.slots if slot.part.startswith("self_attn")}
        cross_attention = {plan.owner[slot.name] for slot in plan.slots if slot.part.startswith("cross_attn")}
        assert cross_attention and not self_attention & cross_attention, name


@pytest.mark.parametrize(("task", "name"), CASES)
def test_bug_22_refactor_breaks_sharing(task, name):
    """Refactor breaks sharing: https://github.com/facebookresearch/fairseq commit bf54551c"""
    model = sound(task, name)
    owners = set(owners_of(model, name).values())
    stored = {store.name: store.size for store in model.plan.stores}
    assert {key for key, _ in model.named_parameters()} == stored.keys() == owners | model.plan.extras.keys()
    assert sum(p.numel() for p in model.parameters()) == sum(stored.values()) == count_params(model.plan).params
    if not model.plan.views:
        assert sum(stored.values()) == numbers(owners, model)


# Initial loss and scale.


@pytest.mark.parametrize(("task", "name"), CASES)
def test_bug_23_initial_loss_about_400_when_tied(task, name):
    """Initial loss about 400 when tied: https://github.com/NX-AI/xlstm/issues/83

    Bug 24, initial loss about 110 untied: https://github.com/huggingface/transformers/pull/26441
    At d 64, a table of std 0.02 and embeddings times 8, every scheme starts within half a nat of ln V.
    """
    model = model_of(task, name, vocab_size=400, d_model=64, d_head=16, d_ff=128, embed_scale=8.0)
    batch = draw_batches(model, 16, 8, 16)[0]
    with torch.no_grad():
        sums = batch_loss(model, batch, 0.0)
    assert abs(float(sums.nll) / batch.n_tokens - math.log(400)) < 0.5


def test_bug_24_initial_loss_about_110_untied():
    """Initial loss about 110 untied: https://github.com/huggingface/transformers/pull/26441

    The output table has the standard deviation of every table, tied or not, and one per d_model ** 0.5 where none is set.
    """
    for name in ("none", "pre_softmax"):
        model = model_of("lm", name, vocab_size=2000)
        for std, wanted in ((0.02, 0.02), (0.3, 0.3), (None, 0.25)):
            model.tables = Tables(std)
            model.initialize(1)
            assert model.parameter("decoder.output.weight").std().item() == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize(("task", "name"), CASES)
def test_bug_25_tied_table_initialised_at_std_1(task, name):
    """Tied table initialised at std 1: https://github.com/Modalities/modalities/pull/456

    Which slot was tied to which decides nothing: an owner starts as it does untied, if it is stored in the same shape.
    """
    model, untied = sound(task, name), sound(task, "none")
    owners = owners_of(model, name)
    narrower = {
        store.name
        for store in model.plan.stores
        if store.name in owners and store.shape != untied.parameter(store.name).shape
    }
    assert not narrower or name == "factorised"
    for slot, owner in owners.items():
        assert owner in narrower or torch.equal(model.parameter(slot), untied.parameter(owner)), slot


def test_bug_26_tying_shrinks_the_embedding():
    """Tying shrinks the embedding 5x: Sockeye, the output's initial values come last"""
    stds = {}
    for name in ("none", "shared_vocab", "pre_softmax", "embeddings", "three_way"):
        model = model_of("mt", name, vocab_size=1000)
        stds[name] = [
            model.parameter(f"{place}.weight").std().item()
            for place in ("encoder.embed", "decoder.embed", "decoder.output")
        ]
    assert all(std == pytest.approx(0.02, rel=0.03) for of_arm in stds.values() for std in of_arm)
    assert len({of_arm[0] for of_arm in stds.values()}) == 1


# Counting.


def counted_flops(model: Transformer) -> int:
    batch = draw_batches(model, 2, 5, 7)[0]
    with torch.no_grad():
        return count_matmul_flops(lambda: model.logits(model(batch.sources, batch.tgt_in_ids)))


def ledger_flops(model: Transformer) -> int:
    lengths = {stack.name: [7 if stack.has_output else 5] * 2 for stack in model.shape.stacks}
    return count_flops(model.shape).forward(length_units(model.shape, lengths))


@pytest.mark.parametrize("task", ["lm", "mt"])
def test_bug_28_size_and_flops_too_low_when_tied(task):
    """Size and FLOPs too low when tied: https://github.com/pytorch/torchtitan/pull/3225"""
    tied, untied = model_of(task, "pre_softmax"), model_of(task, "none")
    assert counted_flops(tied) == counted_flops(untied) == ledger_flops(tied) == ledger_flops(untied)
    params = [count_params(model.plan).params for model in (tied, untied)]
    assert params[1] - params[0] == 23 * 16
    assert params == [sum(p.numel() for p in model.parameters()) for model in (tied, untied)]


def test_bug_29_flops_differ_by_tying():
    """FLOPs differ by tying: https://github.com/huggingface/trl/issues/6708

    The head costs 2 V d a target token however it is tied, and is in the ledger once.
    """
    for name in ("none", "pre_softmax", "three_way"):
        terms = [t for t in count_flops(model_of("mt", name).shape).terms if t.slot.endswith("output")]
        assert [(t.slot, t.unit, t.per_unit) for t in terms] == [("decoder.output", "decoder", 2 * 23 * 16)]


def test_bug_30_lookup_counted_as_matmul():
    """MFU too high untied: https://github.com/tenstorrent/tt-metal/pull/50114"""
    slots = [term.slot for term in count_flops(model_of("mt", "none").shape).terms]
    assert not [slot for slot in slots if "embed" in slot or "positions" in slot]
    with torch.no_grad():
        assert count_matmul_flops(lambda: nn.functional.embedding(torch.zeros(3, 5).long(), torch.ones(23, 16))) == 0


def test_bug_31_flops_too_low_for_albert():
    """FLOPs 13x too low for ALBERT: Hugging Face Trainer, 6 N on unique parameters"""
    shape, counts, params = make_shape("lm", n_layers=12), set(), []
    for n_unique in (1, 3, 12):
        plan = make_plan(shape, {"x": {"rule": "cross_layer", "n_unique": n_unique}})
        counts.add(counted_flops(Transformer(plan)))
        params.append(count_params(plan).params)
    assert counts == {ledger_flops(Transformer(make_plan(shape, {})))}
    layer = 4 * 16 * 16 + 2 * 16 * 24 + 2 * 16
    assert [params[1] - params[0], params[2] - params[1]] == [2 * layer, 9 * layer]


@pytest.mark.parametrize(("task", "name"), CASES)
def test_bug_32_state_dict_count_too_high(task, name):
    """State-dict count too high: https://github.com/karpathy/llama2.c/issues/378"""
    model = sound(task, name)
    assert sum(p.numel() for p in model.state_dict().values()) == count_params(model.plan).params
    if (task, name) in MECHANISMS:
        check_params(model)


def test_bug_33_logged_size_same_tied_and_untied():
    """Logged size same tied and untied: MobileLLM pretrain.py; OpenNMT language models

    Tables are counted, so every scheme that ties anything is smaller by what its slots hold.
    """
    untied = sound("mt", "none")
    for name in EXPECTED:
        if name in VIEWS:  # tests/plan/test_views.py has their forms
            continue
        tied = [slot for slot, owner in owners_of(untied, name).items() if slot != owner]
        ledger = count_params(make_plan(untied.shape, ties_of(name)))
        assert ledger.params == count_params(untied.plan).params - numbers(tied, untied), name
        assert bool(ledger.params_saved) == (name not in ("none", "shared_vocab")), name


# Gradients and optimizer.


def test_bug_34_gradient_doubled():
    """Gradient doubled: https://github.com/pytorch/torchtitan/pull/3174

    A table, layers and projections, each tied, in one compiled graph.
    """
    ties = ties_of("pre_softmax") | ties_of("universal") | ties_of("query_key")
    model = Transformer(make_plan(make_shape("lm", n_layers=2), ties), tables=Tables(0.02))
    model.initialize(1)
    assert check_compile(model) == "aot_eager"


@pytest.mark.parametrize(("task", "name"), MECHANISMS)
def test_bug_35_gradient_of_one_use_lost(task, name):
    """Gradient of one use lost: https://github.com/NVIDIA/TransformerEngine/pull/3552"""
    check_gradients(model_of(task, name))


@pytest.mark.parametrize(("task", "tying"), [("lm", "pre_softmax"), ("mt", "three_way"), ("mt", "cross_layer")])
def test_bug_36_norm_too_large_over_clipping(task, tying):
    """Norm sqrt(2) too large, over-clipping: https://github.com/NVIDIA/Megatron-LM/pull/7228"""
    config = tiny_config(tying, task, dropout=0.0)
    model, batch = build_model(config), RandomTask(config).batches.batch(0, 0)
    twin = untied_twin(model)
    (batch_loss(twin, batch, 0.0).objective / batch.n_tokens).backward()
    sums = [sum(twin.parameter(use).grad for use in uses) for uses in model.plan.uses.values()]
    once = math.sqrt(sum(float(total.square().sum()) for total in sums))
    counts = [len(uses) for uses in model.plan.uses.values()]
    twice = math.sqrt(sum(n * float(total.square().sum()) for n, total in zip(counts, sums, strict=True)))
    norm = train_step(
        model,
        build_optimizer(model, OptimConfig(name="sgd")),
        batch,
        lambda m, b: batch_loss(m, replace(b, row_seeds=None), 0.0),
        hardware=resolve_hardware(config.hardware),
        clip_norm=1.0,
        seed=1,
        step=1,
    ).grad_norm
    assert norm == pytest.approx(once, rel=1e-4)
    assert twice > 1.01 * once


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate")
@pytest.mark.parametrize(("task", "name"), CASES)
def test_bug_37_parameter_stepped_twice_with_only_a_warning(task, name):
    """Parameter stepped twice in one group, only a warning: torch.optim.SGD"""
    model = sound(task, name)
    held = build_optimizer(model, OptimConfig())
    audit_optimizer(model, held)
    ids = [id(p) for group in held.param_groups for p in group["params"]]
    owners = owners_of(model, name)
    assert len(ids) == len(set(ids)) == len(set(owners.values()) | model.plan.extras.keys())
    by_slot = [model.parameter(slot) for slot in owners]
    if len(by_slot) > len(set(owners.values())):
        with pytest.raises(AuditError, match="optimizer groups"):
            audit_optimizer(model, torch.optim.SGD(by_slot, lr=1.0))


@pytest.mark.parametrize(("task", "name"), MECHANISMS[1:4])
def test_bug_39_average_of_checkpoints_wrong(task, name):
    """Average of checkpoints wrong: https://github.com/facebookresearch/fairseq/pull/743"""
    check_ties(model_of(task, name), {"averaging": WAYS["averaging"]})


@pytest.mark.parametrize(("task", "name"), MECHANISMS[1:5])
def test_bug_40_weight_decay_of_a_matrix_with_two_roles(task, name):
    """Weight decay of a matrix with two roles: https://github.com/karpathy/nanoGPT/pull/21

    A tied matrix is in one group, decays once per step, and as much as it does untied; tables only if asked for.
    """
    check_decay(model_of(task, name))
    for model, tables in itertools.product((sound(task, name), sound(task, "none")), (True, False)):
        optimizer = build_optimizer(model, OptimConfig(weight_decay=0.3, decay_tables=tables))
        decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
        for slot in model.plan.slots:
            decays = len(slot.shape) > 1 and (tables or slot.kind != "table")
            assert decay[id(model.parameter(slot.name))] == (0.3 if decays else 0.0), slot.name


# Decoding, saving, conversion.


@torch.no_grad()
def decoded(model: Transformer, length: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states with a cache, a token a step, and of one full pass."""
    batch = draw_batches(model, 2, 4, length)[0]
    memory = model.encode(batch.sources) if batch.sources else None
    cache = Cache()
    steps = [model.decode(batch.tgt_in_ids[:, [i]], memory, cache) for i in range(length)]
    return torch.cat(steps, dim=1), model.decode(batch.tgt_in_ids, memory)


@pytest.mark.parametrize(("task", "name"), CASES)
def test_bug_41_cached_decoding_differs_from_full_forward(task, name):
    """Cached decoding differs from full forward: https://github.com/pytorch/executorch/pull/19324

    Bug 42, a user shares a layer object, poor results: https://github.com/facebookresearch/fairseq/issues/3261
    """
    step_by_step, at_once = decoded(model_of(task, name).double())
    torch.testing.assert_close(step_by_step, at_once, rtol=1e-10, atol=1e-12)


def test_bug_42_user_shares_a_layer_object_poor_results():
    """User shares a layer object in fairseq, poor results: https://github.com/facebookresearch/fairseq/issues/3261

    One layer for all, and a copy of it for each: decoding step by step makes no difference.
    """
    shared = model_of("mt", "universal").double()
    assert_tied(shared, "universal")
    torch.testing.assert_close(decoded(untied_twin(shared))[0], decoded(shared)[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("task", "name"), CASES)
def test_bug_43_cannot_save_as_safetensors(task, name):
    """Cannot save as safetensors: https://github.com/safetensors/safetensors/issues/98"""
    model = sound(task, name)
    again = Transformer(model.plan)
    again.load_state_dict(safetensors.torch.load(safetensors.torch.save(model.state_dict())))
    assert_tied(again, name)
    assert all(torch.equal(again.parameter(slot), model.parameter(slot)) for slot in owners_of(model, name))


@pytest.mark.parametrize(("task", "name"), MECHANISMS)
def test_bug_44_a_file_with_nothing_in_it(tmp_path, task, name):
    """Empty shard in the exported index: https://github.com/pytorch/torchtitan/pull/3764"""
    model = model_of(task, name)
    save_final(tmp_path, model)
    found = []
    for path in tmp_path.rglob("*.safetensors"):
        with safe_open(path, framework="pt") as f:
            assert list(f.keys())
            found += [(key, f.get_tensor(key).numel()) for key in f.keys()]  # noqa: SIM118
    assert sorted(found) == sorted((owner, numbers([owner], model)) for owner in set(owners_of(model, name).values()))


@pytest.mark.parametrize(("saved", "loaded"), [("cycle", "cycle_rev"), ("cycle_rev", "cycle"), ("sequence", "cycle")])
def test_bug_45_sequence_checkpoint_loads_as_cycle(tmp_path, saved, loaded):
    """Sequence checkpoint loads as cycle: names equal, map differs"""
    model = model_of("mt", loaded)
    if saved != "sequence":  # a set of Takase's is named by its first layer, here 0 and 1 either way
        assert set(owners_of(model, saved).values()) == set(owners_of(model, loaded).values())
    save_final(tmp_path, model_of("mt", saved))
    with pytest.raises(SettingsError) as refused:
        load_weights(tmp_path, model)
    assert Path(refused.value.setting) == tmp_path / "checkpoints" / "final" / "model.safetensors"
