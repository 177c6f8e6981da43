"""Other toolkits' names are our schemes: the same run, the same plan, and a pointer from the bare name."""

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


@pytest.fixture(scope="module")
def ours():
    """Scheme -> its configuration, where an alias leads."""

    def composed(name):
        more = ["tying.ties.index_vector.stacks=[decoder]", VECTOR] if name == "index_vector" else []
        return compose_config(["task=mt", f"tying={name}", *more])

    return {name: composed(name) for name in set(OURS.values())}


def test_every_alias_is_expected_here():
    assert {alias.file: alias.scheme for alias in ALIASES} == OURS


@pytest.mark.parametrize("file", OURS)
def test_an_alias_is_the_same_run(ours, file):
    vector = [VECTOR] if OURS[file] == "index_vector" else []
    config = compose_config(["task=mt", f"tying=alias/{file}", *vector])
    assert config == ours[OURS[file]]
    assert config_hash(config) == config_hash(ours[OURS[file]])
    assert run_name(config) == run_name(ours[OURS[file]])
    wanted = EXPECTED[OURS[file]]
    if vector:  # of a decoder, as in Marian
        wanted = [("decoder", parts, owners) for _, parts, owners in wanted]
    assert difference(make_plan(six_layers("mt"), config.tying.ties), wanted) == {}


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


@pytest.mark.parametrize("foreign", BARE)
def test_a_bare_foreign_name_is_refused_with_ours(foreign):
    assert our_name(foreign) == BARE[foreign]
    for words in ([f"tying={foreign}"], [f"tying=[mirror,{foreign}]"])[: 2 if foreign == "wt" else 1]:
        with pytest.raises(SettingsError) as refused:
            compose_config(words)
        assert refused.value.exit_code == 2
        assert str(refused.value) == f"tying={foreign}: there is no such tying; here it is called tying={BARE[foreign]}"


@pytest.mark.parametrize("name", [*EXPECTED, "nope", ""])
def test_our_own_names_are_no_foreign_ones(name):
    assert our_name(name) is None


def test_a_sweep_over_all_schemes_meets_each_once():
    """`tying=glob(*)` does not enter the folder of aliases."""
    choices = tying_choices()
    with initialize_config_module("tietrain.conf", version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        swept = parser.parse_overrides(["tying=glob(*)"])[0].sweep_string_iterator()
        assert sorted(swept) == choices
    assert not any("alias" in name or name in OURS for name in choices)
