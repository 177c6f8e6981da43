"""Every scheme under each task it applies to, and combinations of them, as models of `tietrain check --all`."""

from functools import cache

from tietrain.check.matrix import REFERENCE, with_examples
from tietrain.check.reference import NARROW, build_reference
from tietrain.compose import compose_config, tying_choices
from tietrain.config import RunConfig
from tietrain.model.transformer import Transformer
from tietrain.tying.table import load_scheme

SCHEMES = [(task, name) for name in tying_choices() for task in load_scheme(name).plans()]
# Several rules at once, norms out, one side and one part: words that follow `tying=`.
COMBINED = [
    ("lm", "[pre_softmax,cycle_rev,query_key]"),
    ("lm", "[pre_softmax,cross_layer] tying.ties.cross_layer.n_unique=4 tying.ties.cross_layer.norms=false"),
    ("mt", "[three_way,cycle] tying.ties.cycle.norms=false"),
    ("mt", "[three_way,one_layer,query_key,positions]"),
    ("mt", "cross_layer tying.ties.cross_layer.stacks=[decoder] tying.ties.cross_layer.parts=[cross_attn]"),
]
CASES = SCHEMES + COMBINED


@cache
def configure(task: str, tying: str, *overrides: str) -> RunConfig:
    """The configuration of a scheme, or of a combination."""
    return with_examples(compose_config([*REFERENCE, *overrides, f"task={task}", *f"tying={tying}".split()]))


def build(task: str, tying: str, *overrides: str) -> Transformer:
    return build_reference(configure(task, tying, *overrides), NARROW)
