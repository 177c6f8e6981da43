"""Published counts and equalities that need no training: each is computed here by tietrain's own plans, ledgers and models.

A check is one function, named by the claim card that reads it; it returns rows of what is stated, what the source or its arithmetic
says, and what was computed. The claim holds if the last two agree in every row.
"""

import copy
from collections.abc import Callable, Mapping
from itertools import product

from tietrain.config.compose import compose_config
from tietrain.config.layout import make_shape
from tietrain.errors import TietrainError
from tietrain.model.transformer import Transformer
from tietrain.plan.conventions import columns, estimate
from tietrain.plan.flops import count_flops
from tietrain.plan.layer_rules import cross_layer
from tietrain.plan.params import count_params
from tietrain.plan.plan import TyingPlan
from tietrain.plan.schemes import make_plan
from tietrain.train.check import checks
from tietrain.train.check.lifecycle import check_ties
from tietrain.train.check.reference import NARROW, build_reference, draw_batches, summed_loss

# What is stated, what the source says, what was computed.
Rows = list[tuple[str, str, str]]
EXACT: dict[str, Callable[[], Rows]] = {}
ORDERS = ("sequence", "cycle", "cycle_rev")


def exact(check: Callable[[], Rows]) -> Callable[[], Rows]:
    """Put a check into EXACT under its own name."""
    EXACT[check.__name__] = check
    return check


def plan_of(*words: str) -> TyingPlan:
    """The plan of a command line."""
    config = compose_config(words)
    return make_plan(make_shape(config), config.tying.ties)


def params_of(*words: str) -> int:
    """Numbers that the model of a command line stores."""
    return count_params(plan_of(*words)).params


def _counts(expected: Mapping[str, int], computed: Mapping[str, int]) -> Rows:
    return [(what, f"{n:,}", f"{computed[what]:,}") for what, n in expected.items()]


@exact
def three_way_saves() -> Rows:
    """X1: three-way tying removes 2 V d of Transformer base and big, with a vocabulary of 37,000 (Vaswani et al. 2017, 3.4)."""
    expected = {
        "base: none": 100_933_632,
        "base: three_way": 63_045_632,
        "base: saved": 37_888_000,
        "big: saved": 75_776_000,
    }
    found = {}
    for size in ("base", "big"):
        for tying in ("none", "three_way"):
            found[f"{size}: {tying}"] = params_of("task=mt", f"model=vaswani_{size}", f"tying={tying}")
        found[f"{size}: saved"] = found[f"{size}: none"] - found[f"{size}: three_way"]
    return _counts(expected, found)


@exact
def albert_sizes() -> Rows:
    """X2: the eight models of Lan et al. 2019, table 4: layers by our ledger, around them the paper's tables, norm and map."""
    expected = {
        "all, E 768": 30_524_160,
        "attention, E 768": 82_487_808,
        "ffn, E 768": 56_527_104,
        "none, E 768": 108_490_752,
        "all, E 128": 11_092_992,
        "attention, E 128": 63_056_640,
        "ffn, E 128": 37_095_936,
        "none, E 128": 89_059_584,
    }
    schemes = {"all": "universal", "attention": "attention_only", "ffn": "ffn_only", "none": "none"}
    model = ["model=gpt2", "model.norm_position=post", "model.vocab_size=30000", "model.max_len=512", "task.window=512"]
    found = {}
    for shared, scheme in schemes.items():
        ledger = count_params(plan_of(*model, f"tying={scheme}"))
        for width in (768, 128):
            around = (30_000 + 512 + 2) * width + 2 * width + (width * 768 + 768 if width < 768 else 0)
            found[f"{shared}, E {width}"] = ledger.n_once + ledger.n_repeated + around
    printed = dict(zip(expected, (31, 83, 57, 108, 12, 64, 38, 89), strict=True))
    near = {what: "yes" if abs(found[what] - 1e6 * size) < 1e6 else "no" for what, size in printed.items()}
    return [
        *_counts(expected, found),
        *((f"{what}: within 1M of {printed[what]}M", "yes", is_near) for what, is_near in near.items()),
    ]


@exact
def depth_is_free() -> Rows:
    """X3: with M = 6 sets, 12 and 18 layers store what 6 do and compute twice and three times as much (Takase & Kiyono 2021)."""
    rows: Rows = []
    for order in ORDERS:
        tying = [f"tying={order}:n_unique:6", "task=mt", "model=vaswani_base"]
        plans = {n: plan_of(*tying, f"model.n_layers={n}") for n in (6, 12, 18)}
        sizes = {n: count_params(plan).params for n, plan in plans.items()}
        costs = {n: _stack_flops(plan) for n, plan in plans.items()}
        rows += [(f"{order}, N = {n}: parameters", f"{sizes[6]:,}", f"{sizes[n]:,}") for n in (12, 18)]
        rows += [
            (f"{order}, N = {n}: FLOPs of the layers", f"{n // 6} x", f"{costs[n] / costs[6]:g} x") for n in (12, 18)
        ]
    return rows


def _stack_flops(plan: TyingPlan) -> int:
    return sum(term.per_unit for term in count_flops(plan).terms if term.kind != "logits")


@exact
def one_feed_forward() -> Rows:
    """X4: weights of Pires et al. 2023: one feed-forward of an encoder spares 5, none in the decoder 6, the wide one adds the rest."""
    big = ["task=mt", "model=vaswani_big", "model.ffn_bias=false"]
    shared = count_params(plan_of(*big, "tying=shared_enc"))
    wide = count_params(plan_of(*big, "tying=shared_enc", "model.d_ff=49152"))
    found = {
        "shared encoder FFN saves": shared.params_saved,
        "decoder without FFN saves": shared.by_part["decoder.ffn"],
        "inner width 49,152 adds": wide.by_part["encoder.ffn"] - shared.by_part["encoder.ffn"],
    }
    expected = dict(zip(found, (41_943_040, 50_331_648, 92_274_688), strict=True))
    return _counts(expected, found)


@exact
def mobilellm_sizes() -> Rows:
    """X5: MobileLLM-125M (Liu et al. 2024), tied as its scripts have it and untied as its files say."""
    expected = {"pre_softmax": 124_635_456, "none": 143_067_456}
    return _counts(expected, {tying: params_of("model=mobilellm_125m", f"tying={tying}") for tying in expected})


@exact
def takase_maps() -> Rows:
    """X6: the maps of Takase & Kiyono 2021, and those of their released code for every M that divides N up to 24 layers."""
    golden = {"sequence": "001122", "cycle": "012012", "cycle_rev": "012210"}
    deep = {"sequence": "000111222333444555", "cycle": "012345" * 3, "cycle_rev": "012345012345543210"}
    rows: Rows = []
    for m, n, maps in ((3, 6, golden), (6, 18, deep)):
        rows += [
            (f"{order}, M {m}, N {n}", want, "".join(map(str, cross_layer(n, order, m))))
            for order, want in maps.items()
        ]
    cases = [(order, n, m) for order, n in product(ORDERS, range(1, 25)) for m in range(1, n + 1) if n % m == 0]
    same = sum(_groups(cross_layer(n, order, m)) == _groups(_released(n, order, m)) for order, n, m in cases)
    return [*rows, ("cases equal to the released code", str(len(cases)), str(same))]


def _groups(sets: list[int]) -> list[int]:
    """A map without the names of its sets: each layer's first reader."""
    return [sets.index(i) for i in sets]


def _released(n: int, order: str, m: int) -> list[int]:
    """The map of takase/share_layer_params, by its group size N / M."""
    if order == "sequence":
        return [i // (n // m) for i in range(n)]
    fresh = list(range(m))
    again = [i % m for i in range(max(0, n - 2 * m))]
    last = fresh if order == "cycle" else fresh[::-1]
    return [*fresh, *again, *last][:n] if n > m else fresh


@exact
def palm_formula() -> Rows:
    """X7: 6 N + 12 L H K T against an explicit count of every matrix product, GPT-2 small at 1,024 tokens."""
    rows: Rows = []
    biased = ["model.attn_bias=true", "model.ffn_bias=true", "model.norm_bias=true"]
    for name, words, ratio in (
        ("without biases", [word.replace("true", "false") for word in biased], "1.00013"),
        ("with biases", biased, "1.00085"),
    ):
        plan = plan_of("model=gpt2", "task.window=1024", "tying=pre_softmax", *words)
        by_formula = estimate("palm", plan, 1024).flops or 0
        rows.append((f"ratio {name}", ratio, f"{by_formula / columns(plan, 1024)['with attention']:.5f}"))
    stored = params_of("model=gpt2", "task.window=1024", "tying=pre_softmax")
    return [*rows, ("GPT-2 small, parameters", "124,439,808", f"{stored:,}")]


@exact
def ties_cost_nothing() -> Rows:
    """X8: tying changes no FLOPs; L9 is L5 with half as many sets; a layer relaxed by a product of zero is the strict tie."""
    rows: Rows = []
    untied = count_flops(plan_of("model.n_layers=6")).coefficients
    for tying in ("pre_softmax", "universal", "cycle", "sandwich", "query_key", "ffn_only"):
        rows.append(
            (
                f"FLOPs of {tying}",
                str(untied),
                str(count_flops(plan_of("model.n_layers=6", f"tying={tying}")).coefficients),
            )
        )
    immediate, sequence = (plan_of("model.n_layers=6", f"tying={t}").hash for t in ("immediate", "sequence:n_unique:3"))
    strict, relaxed = (
        build_reference(compose_config(words), NARROW) for words in (["tying=universal"], ["tying=[universal,relaxed]"])
    )
    relaxed.load_state_dict(
        strict.state_dict() | {n: p for n, p in relaxed.state_dict().items() if n in relaxed.plan.extras}
    )
    of_strict, of_relaxed = (repr(summed_loss(m, draw_batches(m, 3, 5, 7), 0.0).item()) for m in (strict, relaxed))
    rows.append(("plan of immediate", sequence, immediate))
    return [*rows, ("loss of relaxed at its start", of_strict, of_relaxed)]


@exact
def ties_survive() -> Rows:
    """X9: after save, load, averaging and more the alias holds, one optimizer state is kept, and decay acts once."""
    return _passes({"ties": check_ties, "decay and optimizer state": checks.check_decay})


@exact
def tied_step_is_summed() -> Rows:
    """X10: separate copies, each stepped with the sum of all gradients, follow the tied model under every optimizer."""
    return _passes({"gradient is the sum over uses": checks.check_gradients, "copies follow": checks.check_optimizers})


def _passes(wanted: Mapping[str, Callable[[Transformer], str]]) -> Rows:
    """A row for each check on a language model with one table and one layer, and on a translation model with one table."""
    rows: Rows = []
    models = (["tying=[pre_softmax,universal]"], ["task=mt", "tying=[three_way,cycle]", "model.n_layers=4"])
    for words in models:
        model = build_reference(compose_config(words), NARROW)
        for name, check in wanted.items():
            try:
                check(copy.deepcopy(model))
                found = "holds"
            except TietrainError as e:
                found = f"{e.setting}: {e.problem}"
            rows.append((f"{' '.join(words)}: {name}", "holds", found))
    return rows
