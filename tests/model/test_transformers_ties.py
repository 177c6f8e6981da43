"""The promises about transformers, where it is installed: names, `save_pretrained`, reload."""

import copy

import pytest
import torch

import tietrain
from tietrain.cli.audit import audit_folder

transformers = pytest.importorskip("transformers")
SMALL = {
    "GPT2": {"n_embd": 8, "n_layer": 4, "n_head": 2, "n_positions": 8},
    "Llama": {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2},
    "Marian": {"d_model": 8, "encoder_layers": 4, "decoder_layers": 4, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    | {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "pad_token_id": 0},
    "T5": {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 4, "num_heads": 2},
    "Bert": {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2},
}
CLASSES = {
    "GPT2": "GPT2LMHeadModel",
    "Llama": "LlamaForCausalLM",
    "Marian": "MarianMTModel",
    "T5": "T5ForConditionalGeneration",
    "Bert": "BertForMaskedLM",
}
SCHEMES = {"GPT2": ["universal", "cycle"], "Llama": ["universal"], "Bert": ["universal"]}
SCHEMES |= {"Marian": ["three_way", "universal", "encoder_decoder"], "T5": ["three_way", "cycle", "encoder_decoder"]}


def make(family, **settings):
    config = getattr(transformers, f"{family}Config")(vocab_size=32, **SMALL[family], **settings)
    return getattr(transformers, CLASSES[family])(config)


@pytest.mark.parametrize(("family", "scheme"), [(family, scheme) for family in SCHEMES for scheme in SCHEMES[family]])
def test_tie_survives_save_pretrained_and_reload(tmp_path, family, scheme):
    model = make(family)
    tietrain.tie(model, scheme)
    found = tietrain.audit(model)
    assert found.params < found.params_by_name and not found.broken
    model.save_pretrained(tmp_path)
    assert not audit_folder(tmp_path).broken
    again = type(model).from_pretrained(tmp_path)
    tietrain.tie(again, scheme)
    assert set(map(frozenset, tietrain.audit(again).tied)) == set(map(frozenset, found.tied))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("groups", [["lm_head.weight", "x.weight"], ["x.weight", "lm_head.weight"]])
def test_tie_of_a_name_that_transformers_ties_itself_survives_reload(tmp_path, groups):

    class Extended(transformers.GPT2LMHeadModel):
        def __init__(self, config):
            super().__init__(config)
            self.x = torch.nn.Linear(8, 32, bias=False)
            self.post_init()

    model = Extended(make("GPT2").config)
    tietrain.tie(model, [groups])
    model.save_pretrained(tmp_path)
    again = Extended.from_pretrained(tmp_path)
    tietrain.tie(again, [groups])
    assert torch.equal(again.x.weight, model.x.weight) and torch.equal(again.transformer.wte.weight, model.x.weight)


def test_audit_knows_the_promises(tmp_path):
    tied = make("Llama", tie_word_embeddings=True)
    assert tietrain.audit(tied).tied and not tietrain.audit(tied).broken
    broken = copy.deepcopy(tied)
    broken.lm_head.weight = torch.nn.Parameter(torch.rand(32, 8))
    assert "tie_word_embeddings" in tietrain.audit(broken).broken[0]
