"""Every scheme in each kind of model it applies to, and combinations of them, as models of `tietrain check --all`."""

from functools import cache

from tietrain.config import RunConfig
from tietrain.config.compose import compose_config
from tietrain.config.keys import tying_choices
from tietrain.model.transformer import Transformer
from tietrain.plan.catalogue import load_scheme
from tietrain.train.check.matrix import MODELS, REFERENCE, with_examples
from tietrain.train.check.reference import NARROW, build_reference

SCHEMES = [(model, name) for name in tying_choices() for model in load_scheme(name).plans()]
SCHEMES += [("features", name) for model, name in SCHEMES if model == "sources" and name != "cross_attentions"]
# Several rules at once, norms out, one side and one part: words that follow `tying=`.
COMBINED = [
    ("lm", "[pre_softmax,cycle_rev,query_key]"),
    ("lm", "[pre_softmax,cross_layer] tying.ties.cross_layer.n_unique=4 tying.ties.cross_layer.norms=false"),
    ("mt", "[three_way,cycle] tying.ties.cycle.norms=false"),
    ("mt", "[three_way,one_layer,query_key,positions]"),
    ("mt", "cross_layer tying.ties.cross_layer.stacks=[decoder] tying.ties.cross_layer.parts=[cross_attn]"),
]
# Every view on shared tables and layers; ranks fit the narrow model.
VIEWED = [("lm", "[pre_softmax,universal,relaxed,scaled,step_signal,input_gradient,transposed]")]
_SMALL = "tying.ties.factorised.rank=8"
MORE_VIEWED = [
    ("lm", f"[pre_softmax,cycle,factorised,relaxed] {_SMALL} tying.ties.factorised.up=shared"),
    ("mt", f"[three_way,universal,factorised,relaxed,scaled] {_SMALL}"),
    ("mt", f"[three_way,cycle,factorised,transposed,step_signal] {_SMALL} tying.ties.step_signal.signal=sinusoidal"),
]
CASES = SCHEMES + COMBINED + VIEWED + MORE_VIEWED
# The default suite takes one scheme for every rule in one language or two, and for what several sources or languages change one
# scheme for every kind of tie; `slow` takes all of them, as `tietrain check --all` does.
_ONE_PER_RULE = (
    *("none", "embeddings", "pre_softmax", "three_way", "cycle_rev", "positions", "encoder_decoder", "query_key"),
    *("one_encoder", "one_decoder", "partial_decoders", "cross_attentions"),
)
_OF_SEVERAL = ("three_way", "cycle_rev", "one_encoder", "one_decoder", "partial_decoders", "cross_attentions")
QUICK = (
    COMBINED
    + VIEWED
    + [
        (model, name)
        for model, name in SCHEMES
        if name in (_ONE_PER_RULE if model in ("lm", "mlm", "mt") else _OF_SEVERAL)
    ]
)


@cache
def configure(model: str, tying: str, *overrides: str) -> RunConfig:
    """The configuration of a scheme, or of a combination."""
    return with_examples(compose_config([*REFERENCE, *overrides, *MODELS[model], *f"tying={tying}".split()]))


def build(model: str, tying: str, *overrides: str) -> Transformer:
    return build_reference(configure(model, tying, *overrides), NARROW)
