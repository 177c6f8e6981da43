"""Bugs of ties in public systems, each in a few lines of our own; `audit` sees it, or `tie` does not have it.

The number is that of the bug in the list that the project keeps of them; the address is where it was reported.
"""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file, save_model
from torch import nn

import tietrain
from foreign_models import LanguageModel, named_as, write_folder
from tietrain.cli.audit import audit_folder
from tietrain.errors import TyingError

TABLES = [["embed.weight", "head.weight"]]
SAYS_ONE, SAYS_TWO = {"tie_word_embeddings": True}, {"tie_word_embeddings": False}


def gpt2(tied=False, config=None):
    model = named_as("gpt2")
    if tied:
        model.lm_head.weight = model.transformer.wte.weight
    model.config = SimpleNamespace(**(config or {}))
    return model


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def test_bug_02_head_left_out_of_a_checkpoint_because_the_configuration_says_tied(tmp_path):
    """https://github.com/NVIDIA-NeMo/Automodel/pull/2511"""
    model = gpt2(config=SAYS_ONE)
    assert "two tensors" in tietrain.audit(model).broken[0]
    # The reverse: the configuration says two, and one was written.
    kept = {name: value for name, value in weights(model).items() if name != "lm_head.weight"}
    config = SAYS_TWO | {"architectures": ["GPT2LMHeadModel"]}
    assert "random values" in audit_folder(write_folder(tmp_path, config, {"model.safetensors": kept})).broken[0]


def test_bug_03_tie_made_on_meta_is_lost_when_memory_is_given():
    """https://github.com/pytorch/torchtitan/issues/2252"""
    with torch.device("meta"):
        plain, held = gpt2(tied=True, config=SAYS_ONE), LanguageModel()
    assert tietrain.audit(plain).tied and not tietrain.audit(plain).broken
    plain.to_empty(device="cpu")
    assert not tietrain.audit(plain).tied and tietrain.audit(plain).broken
    tietrain.tie(held, TABLES)
    assert tietrain.audit(held.to_empty(device="cpu")).tied


def test_bug_04_registering_a_parameter_again_ends_the_tie():
    """https://github.com/huggingface/accelerate/issues/3668"""
    model = gpt2(tied=True, config=SAYS_ONE)
    for module in model.modules():
        for leaf, p in list(module.named_parameters(recurse=False)):
            module.register_parameter(leaf, nn.Parameter(p.detach().to("meta")))
    assert not tietrain.audit(model).tied and tietrain.audit(model).broken


def test_bug_05_assignment_of_an_aliased_state_shares_memory_and_not_the_parameter():
    plain, held = LanguageModel(tied=True), LanguageModel()
    state = plain.state_dict()
    plain.load_state_dict(state, assign=True)
    found = tietrain.audit(plain)
    assert (found.tied, found.overlapping) == ((), (("embed.weight", "head.weight"),))
    tietrain.tie(held, TABLES)
    held.load_state_dict(state, assign=True)
    assert tietrain.audit(held).tied and not tietrain.audit(held).overlapping
    tietrain.tie(plain, TABLES)
    assert tietrain.audit(plain).tied


@pytest.mark.parametrize("strict", [True, False])
def test_bug_11_tie_forced_over_a_trained_head(strict):
    """https://github.com/NVIDIA-NeMo/Automodel/pull/2942"""
    model = LanguageModel()
    tietrain.tie(model, TABLES)
    before = weights(model)
    with pytest.raises(TyingError, match=r"head\.weight: .*embed\.weight"):
        model.load_state_dict(LanguageModel().state_dict(), strict=strict)
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())


def test_bug_11_folder_with_two_trained_tables_and_a_configuration_that_says_one(tmp_path):
    found = audit_folder(write_folder(tmp_path, SAYS_ONE, {"model.safetensors": weights(gpt2())}))
    assert "different values" in found.broken[0]


def test_bug_12_values_of_the_wrong_name_survive():
    """https://github.com/huggingface/transformers/issues/48154"""
    model = LanguageModel()
    embed = model.embed.weight.detach().clone()
    tietrain.tie(model, TABLES)
    assert torch.equal(model.head.weight, embed)


def test_bug_13_tied_name_missing_from_a_file(tmp_path):
    """https://github.com/huggingface/transformers/issues/38870"""
    model, fresh = LanguageModel(), LanguageModel()
    for one in (model, fresh):
        tietrain.tie(one, TABLES)
    save_model(model, tmp_path / "x.safetensors")
    state = load_file(tmp_path / "x.safetensors")
    assert len(state) == len(model.state_dict()) - 1
    fresh.load_state_dict(state)
    assert torch.equal(fresh.embed.weight, model.embed.weight) and torch.equal(fresh.head.weight, model.head.weight)


def test_bug_14_option_is_ignored_and_the_model_is_always_tied():
    """https://github.com/awslabs/sockeye/pull/137"""
    assert "one tensor" in tietrain.audit(gpt2(tied=True, config=SAYS_TWO)).broken[0]
    assert not tietrain.audit(gpt2(tied=True, config=SAYS_ONE)).broken


def test_bug_17_option_of_shared_tables_has_no_effect():
    """https://github.com/CUNY-CL/yoyodyne/issues/124"""
    model = named_as("marian")
    model.config = {"share_encoder_decoder_embeddings": True}
    assert "share_encoder_decoder_embeddings" in tietrain.audit(model).broken[0]
    model.model.encoder.embed_tokens.weight = model.model.decoder.embed_tokens.weight
    assert not tietrain.audit(model).broken


def test_bug_21_cross_attention_is_tied_to_self_attention():
    model = named_as("marian")
    layer = model.model.decoder.layers.get_submodule("0")
    layer.encoder_attn.q_proj.weight = layer.self_attn.q_proj.weight
    ((first, second),) = tietrain.audit(model).tied
    assert "self_attn" in first and "encoder_attn" in second
    # The scheme joins equal roles alone.
    assert not any(
        "encoder_attn" in name for group in tietrain.tie(named_as("marian"), "encoder_decoder") for name in group
    )


@pytest.mark.parametrize("order", [("embed", "head"), ("head", "embed")])
def test_bug_23_direction_of_an_assignment_decides_the_initial_scale(order):
    """https://github.com/NX-AI/xlstm/issues/83"""
    model = LanguageModel()
    model.head.weight.data *= 100
    tietrain.tie(model, [[f"{name}.weight" for name in order]])
    assert (model.embed.weight.abs().max() > 10) == (order[0] == "head")


def test_bug_32_count_of_a_state_dict_is_too_high():
    """https://github.com/karpathy/llama2.c/issues/378"""
    model = LanguageModel(tied=True)
    found = tietrain.audit(model)
    assert sum(value.numel() for value in model.state_dict().values()) == found.params_by_name == found.params + 36
    assert found.params == sum(p.numel() for p in model.parameters())


def test_bug_39_mean_of_equal_checkpoints_is_not_the_checkpoint():
    """https://github.com/facebookresearch/fairseq/pull/743"""
    model = LanguageModel()
    tietrain.tie(model, TABLES)
    before = weights(model)
    total = {name: torch.zeros_like(value) for name, value in before.items()}
    for _ in range(4):
        total = {name: total[name] + value for name, value in weights(model).items()}
    # A mean has each tensor once, and a tied model takes it.
    model.load_state_dict({name: value / 4 for name, value in total.items()})
    torch.testing.assert_close(weights(model), before)


def test_bug_43_names_that_safetensors_refuses_are_named(tmp_path):
    """https://github.com/safetensors/safetensors/issues/98"""
    model = LanguageModel(tied=True)
    with pytest.raises(RuntimeError, match="share memory"):
        save_file(model.state_dict(), tmp_path / "x.safetensors")
    later = {name for group in tietrain.audit(model).tied for name in group[1:]}
    kept = {name: value for name, value in model.state_dict().items() if name not in later}
    save_file(kept, tmp_path / "x.safetensors")
    tietrain.tie(model, TABLES)
    model.load_state_dict(load_file(tmp_path / "x.safetensors"))


def test_bug_44_index_names_a_tensor_that_was_dropped(tmp_path):
    """https://github.com/pytorch/torchtitan/pull/3764"""
    kept = {"transformer.wte.weight": torch.rand(2, 2)}
    files = {"a.safetensors": kept, "b.safetensors": {}}
    index = dict.fromkeys(kept, "a.safetensors") | {"lm_head.weight": "b.safetensors", "x": "c.safetensors"}
    broken = "\n".join(audit_folder(write_folder(tmp_path, {}, files, index)).broken)
    assert "b.safetensors is empty" in broken and "lm_head.weight is in b.safetensors" in broken
    assert "c.safetensors, which is not there" in broken


def test_bug_45_checkpoint_of_another_layer_order_is_accepted():
    sequence, cycle = nn.ModuleList(nn.Linear(2, 2) for _ in range(4)), nn.ModuleList(nn.Linear(2, 2) for _ in range(4))
    tietrain.tie(sequence, [["0", "1"], ["2", "3"]])
    tietrain.tie(cycle, [["0", "2"], ["1", "3"]])
    with pytest.raises(TyingError):
        cycle.load_state_dict(sequence.state_dict())
