"""Other toolkits' names: the same run and plan as the scheme, and a hint for the bare name."""

import pytest
from hydra import initialize_config_module

from expected_ties import EXPECTED, difference, six_layers
from tietrain.config.compose import compose_config
from tietrain.config.hydra_parts import GlobalHydra, OverridesParser
from tietrain.config.identity import config_hash, run_name
from tietrain.config.keys import tying_choices
from tietrain.errors import SettingsError
from tietrain.plan.aliases import ALIASES, our_name
from tietrain.plan.schemes import make_plan

# papers.md, section 12 and the sections of the papers named. File -> ours.
OURS = {
    "sockeye_trg_softmax": "pre_softmax",
    "sockeye_src_trg": "embeddings",
    "sockeye_src_trg_softmax": "three_way",
    "marian_tied_embeddings": "pre_softmax",
    "marian_tied_embeddings_src": "embeddings",
    "marian_tied_embeddings_all": "three_way",
    "marian_transformer_tied_layers": "index_vector",
    "nematus_tie_decoder_embeddings": "pre_softmax",
    "nematus_tie_encoder_decoder_embeddings": "embeddings",
    "fairseq_share_decoder_input_output_embed": "pre_softmax",
    "fairseq_share_all_embeddings": "three_way",
    "hf_tie_word_embeddings": "pre_softmax",
    "press_wolf_wt": "pre_softmax",
    "press_wolf_twwt": "three_way",
    "mobilellm_immediate_block_wise": "immediate",
    "mobilellm_reverse": "mirror",
    "subformer_sandwich": "sandwich",
    "mor_middle_cycle": "middle_cycle",
    "mor_middle_sequence": "middle_sequence",
}
VECTOR = "tying.ties.index_vector.layers=[1,1,3,3,3,6]"


def test_aliases_are_all_expected_here():
    assert {alias.file: alias.scheme for alias in ALIASES} == OURS


def test_alias_files_are_the_same_run():
    for scheme in set(OURS.values()):
        more = ["tying.ties.index_vector.stacks=[decoder]", VECTOR] if scheme == "index_vector" else []
        ours = compose_config(["task=mt", f"tying={scheme}", *more])
        wanted = EXPECTED[scheme]
        if more:  # of a decoder, as in Marian
            wanted = [("decoder", parts, owners) for _, parts, owners in wanted]
        for file in [file for file, name in OURS.items() if name == scheme]:
            config = compose_config(["task=mt", f"tying=alias/{file}", *more[1:]])
            assert config == ours, file
            assert (config_hash(config), run_name(config)) == (config_hash(ours), run_name(ours)), file
            assert difference(make_plan(six_layers("mt"), config.tying.ties), wanted) == {}, file


BARE = {
    "trg_softmax": "pre_softmax",
    "src_trg": "embeddings",
    "src_trg_softmax": "three_way",
    "tied-embeddings": "pre_softmax",
    "tied-embeddings-src": "embeddings",
    "tied-embeddings-all": "three_way",
    "tied_embeddings_all": "three_way",
    "transformer-tied-layers": "index_vector",
    "tie_decoder_embeddings": "pre_softmax",
    "tie_encoder_decoder_embeddings": "embeddings",
    "share-decoder-input-output-embed": "pre_softmax",
    "share_decoder_input_output_embed": "pre_softmax",
    "share-all-embeddings": "three_way",
    "tie_word_embeddings": "pre_softmax",
    "immediate_block_wise": "immediate",
    "reverse": "mirror",
    "TWWT": "three_way",
    "wt": "pre_softmax",
    "mor_middle_cycle": "middle_cycle",
}


def test_our_name_of_foreign_and_own_names():
    assert {name: our_name(name) for name in BARE} == BARE
    assert {name: our_name(name) for name in [*EXPECTED, "nope", ""]} == dict.fromkeys([*EXPECTED, "nope", ""])


@pytest.mark.parametrize(
    ("words", "foreign"), [(["tying=src_trg"], "src_trg"), (["tying=[mirror,tied-embeddings]"], "tied-embeddings")]
)
def test_compose_config_refuses_a_foreign_name_with_ours(words, foreign):
    with pytest.raises(SettingsError) as refused:
        compose_config(words)
    assert (refused.value.exit_code, refused.value.setting) == (2, f"tying={foreign}")
    assert f"tying={BARE[foreign]}" in refused.value.remedy


def test_glob_sweep_leaves_out_aliases():
    """`tying=glob(*)` does not enter the folder of aliases."""
    choices = tying_choices()
    with initialize_config_module("tietrain.conf", version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        swept = parser.parse_overrides(["tying=glob(*)"])[0].sweep_string_iterator()
        assert sorted(swept) == choices
    assert not any("alias" in name or name in OURS for name in choices)
