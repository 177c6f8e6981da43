"""Rules that share tables, stacks and projections, and the plan that labelled rules make of a model.

Adding a scheme is one function here, or a layer map in `layer_rules`, and one file under `conf/tying/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

from tietrain.errors import TyingError
from tietrain.plan import layer_rules  # noqa: F401  (fills RULES)
from tietrain.plan.parts import ATTENTION, choose_parts, choose_stacks
from tietrain.plan.plan import Pair, TyingPlan, resolve
from tietrain.plan.rules import RULES, Rule, check_choice, rule
from tietrain.plan.slots import ModelShape, Slots

Ties = Mapping[str, Mapping[str, Any]]


@rule(source="-")
def none(slots: Slots) -> list[Pair]:
    """Nothing is shared; source and target have a vocabulary each."""
    return []


@rule(source="Sennrich et al. 2016, section 3.2 (joint BPE)", joint_vocabulary=True, encoder=True)
def shared_vocab(slots: Slots) -> list[Pair]:
    """One joint vocabulary, tables still separate: the control that splits vocabulary from tie."""
    return []


@rule(source="offered by toolkits: Sockeye, Marian, Nematus", joint_vocabulary=True, encoder=True)
def embeddings(slots: Slots) -> list[Pair]:
    """The embedding tables of all stacks are one."""
    reading = [stack for stack in slots.shape.stacks if not stack.n_features]
    return [(f"{a.name}.embed", f"{b.name}.embed") for a, b in pairwise(reading)]


@rule(source="Press & Wolf 2017; Inan et al. 2017; Vaswani et al. 2017, section 3.4")
def pre_softmax(slots: Slots) -> list[Pair]:
    """Every output projection reads the embedding table of its own stack."""
    return [(f"{s.name}.output.weight", f"{s.name}.embed.weight") for s in slots.shape.stacks if s.has_output]


@rule(source="Press & Wolf 2017 (TWWT); Vaswani et al. 2017, section 3.4", joint_vocabulary=True, encoder=True)
def three_way(slots: Slots) -> list[Pair]:
    """Source embedding, target embedding and output projection are one table."""
    return embeddings(slots) + pre_softmax(slots)


@rule(source="no reported ablation is known", encoder=True)
def positions(slots: Slots) -> list[Pair]:
    """The learned position tables of all stacks are one."""
    if slots.shape.positions != "learned":
        raise TyingError(
            f"model.positions={slots.shape.positions}",
            "such positions have no parameters and are common to all stacks already",
            "set model.positions=learned to share a table",
        )
    return [(f"{a.name}.positions", f"{b.name}.positions") for a, b in pairwise(slots.shape.stacks)]


@rule(source="Xia et al. 2019; depth=one: Dabre & Fujita 2019; FFN alone: Pires et al. 2023", encoder=True)
def encoder_decoder(
    slots: Slots, depth: str = "each", parts: Sequence[str] | None = None, norms: bool = True
) -> list[Pair]:
    """Encoder and decoder share layers; cross-attention, which only the decoder has, is never tied to self-attention.

    Of several encoders or decoders all share.

    Args:
        depth: each: layer i of one stack is layer i of the other, depths must be equal; one: all layers of all stacks
            are one.
        parts: see `layer_rules.layer_rule`; None for all.
        norms: whether the norms of shared parts are shared.
    """
    check_choice("depth", depth, ("each", "one"))
    stacks = slots.shape.stacks
    depths = {stack.name: stack.n_layers for stack in stacks}
    if depth == "each" and len(set(depths.values())) > 1:
        problem = " and ".join(f"{name} has {n} layers" for name, n in depths.items())
        raise TyingError("depth=each", problem, "make the depths equal, or choose depth=one")
    names = choose_parts(slots, stacks, parts, norms=norms)
    layers = [(stack.name, layer) for stack in stacks for layer in range(stack.n_layers)]
    chains: dict[Any, list[str]] = {}
    for stack, layer in layers:
        for name in names:
            if slots.under(block := f"{stack}.{layer}.{name}"):
                chains.setdefault((name, layer if depth == "each" else None), []).append(block)
    return [pair for chain in chains.values() for pair in pairwise(chain)]


@rule(source="Sachan & Neubig 2018 (decoders); one encoder for two sources: WMT post-editing systems")
def same_role(
    slots: Slots, role: str = "encoder", parts: Sequence[str] | None = None, norms: bool = True
) -> list[Pair]:
    """Layer i of every encoder is one, or of every decoder, in whole or in part; tables are shared by other rules.

    Args:
        role: encoder or decoder.
        parts: see `layer_rules.layer_rule`; None for all, and the final norms with them.
        norms: whether the norms of parts that share something are shared.
    """
    check_choice("role", role, ("encoder", "decoder"))
    stacks = [stack for stack in slots.shape.stacks if stack.has_output == (role == "decoder")]
    if len(stacks) < 2:
        problem = f"this model has {len(stacks)} stack{'' if len(stacks) == 1 else 's'} of that role"
        remedy = f"read two sources in task.directions, or set model.{role}s=each with several languages"
        raise TyingError(f"role={role}", problem, remedy)
    names = choose_parts(slots, stacks, parts)
    if norms:
        names += dict.fromkeys(f"{name.split('.')[0]}_norm" for name in names)
    blocks = [f"{layer}.{name}" for layer in range(stacks[0].n_layers) for name in names]
    if parts is None and norms:
        blocks.append("final_norm")
    return [
        (f"{a.name}.{block}", f"{b.name}.{block}")
        for a, b in pairwise(stacks)
        for block in blocks
        if slots.under(f"{a.name}.{block}")
    ]


@rule(source="no reported ablation is known; apart they are the serial combination of Libovicky et al. 2018")
def cross_attentions(slots: Slots) -> list[Pair]:
    """Of two sources with a cross-attention each, both read one set of projections in every layer."""
    pairs = [
        (f"{stack.name}.{layer}.cross_attn2{name}", f"{stack.name}.{layer}.cross_attn{name}")
        for stack in slots.shape.stacks
        for layer in range(stack.n_layers)
        for name in ("", "_norm")
        if slots.under(f"{stack.name}.{layer}.cross_attn2{name}")
    ]
    if not pairs:
        remedy = "set model.source_attention=each with two sources"
        raise TyingError("cross_attn2", "no layer of this model has a second cross-attention", remedy)
    return pairs


@rule(source="Kitaev et al. 2020 (Reformer, shared-QK), without its normalized keys")
def query_key(slots: Slots, stacks: Sequence[str] | None = None, parts: Sequence[str] | None = None) -> list[Pair]:
    """Queries and keys of an attention read one projection, computed for each.

    Args:
        stacks: names of stacks; None for all.
        parts: self_attn, cross_attn; None for every attention.
    """
    shape = slots.shape
    if shape.n_kv_heads != shape.n_heads:
        raise TyingError(
            f"model.n_kv_heads={shape.n_kv_heads}",
            f"grouped keys are narrower than the queries of model.n_heads={shape.n_heads}",
            "set model.n_kv_heads=null",
        )
    chosen = choose_stacks(slots, stacks)
    for name in parts or ():
        check_choice("parts", name, (*ATTENTION, "attention"))
    return [
        (f"{block}.k", f"{block}.q")
        for stack in chosen
        for layer in range(stack.n_layers)
        for part in choose_parts(slots, chosen, ["attention"] if parts is None else parts)
        if slots.under(block := f"{stack.name}.{layer}.{part}")
    ]


def check_ties(ties: Ties) -> None:
    """Every label names a known rule with options that rule has; TyingError naming the full key otherwise."""
    for label, tie in ties.items():
        key = f"tying.ties.{label}"
        if not isinstance(tie, Mapping):
            raise TyingError(f"{key}={tie}", "a tie is a rule with its options", f"write {key}={{rule: NAME}}")
        try:
            check_choice("rule", tie.get("rule"), RULES)
            for option, value in tie.items():
                if option != "rule":
                    check_choice("option", option, RULES[tie["rule"]].options)
                    _check_type(option, value, RULES[tie["rule"]].options[option])
        except TyingError as e:
            raise TyingError(f"{key}.{e.setting}", e.problem, e.remedy) from None
    if len(ties) > 1 and "none" in ties:
        others = ", ".join(label for label in ties if label != "none")
        raise TyingError(
            f"tying=[{', '.join(ties)}]",
            "none ties nothing and cannot be combined",
            f"leave none out to tie by {others}",
        )


def _check_type(option: str, value: object, default: object) -> None:
    """TyingError unless a value is of its default's type; where the default is None, it is None or a list."""
    if default is None:
        fits = value is None or (isinstance(value, Sequence) and not isinstance(value, str))
        wanted = "a list: [a,b]"
    else:
        fits, wanted = type(value) is type(default), f"one of type {type(default).__name__}"
    if not fits:
        raise TyingError(f"{option}={value}", "the value is of another type", f"give {wanted}")


def needs_joint_vocabulary(ties: Ties) -> bool:
    """Whether any chosen rule joins the vocabularies of two languages."""
    return any(RULES[tie["rule"]].joint_vocabulary for tie in ties.values())


def make_plan(shape: ModelShape, ties: Ties) -> TyingPlan:
    """The plan of a model under labelled rules, as a file of `conf/tying/` gives them.

    Raises:
        TyingError: a rule is unknown, has no such option, or does not fit the model; the message names the scheme,
            the slots the model has, and what would fit.
    """
    check_ties(ties)
    plan = resolve(shape, [])
    pairs: list[Pair] = []
    notes: list[str] = []
    for label, tie in ties.items():
        chosen, options = RULES[tie["rule"]], {k: v for k, v in tie.items() if k != "rule"}
        _check_fits(shape, label, chosen)
        try:
            of_rule = chosen.pairs(plan.slots, **options)
            plan = resolve(plan.slots, pairs := pairs + of_rule)
        except TyingError as e:
            raise TyingError(f"tying={label}: {e.setting}", e.problem, e.remedy) from None
        notes += [f"{label}: {said}" for said in _notes(plan.slots, chosen, options, of_rule)]
    return replace(plan, notes=tuple([*notes, *_alike(plan)]))


def _check_fits(shape: ModelShape, label: str, chosen: Rule) -> None:
    if chosen.joint_vocabulary and len({stack.vocabulary for stack in shape.stacks if not stack.n_features}) > 1:
        raise TyingError(
            f"tying={label}",
            "it needs one vocabulary for both languages and this model has one for each",
            "leave data.vocabulary=auto",
        )
    if chosen.encoder and len(shape.stacks) < 2:
        tables = ", ".join(f"{stack.name}.embed, {stack.name}.output" for stack in shape.stacks)
        raise TyingError(
            f"tying={label}",
            f"it joins source and target, and this model has one stack: {tables}",
            "a language model ties its tables by tying=pre_softmax and its layers by tying=cross_layer",
        )


def _alike(plan: TyingPlan) -> list[str]:
    """What to say of stacks that predict and have not one parameter that tells them apart."""
    read = {s.name: [plan.owner[slot.name] for slot in plan.slots.under(s.name)] for s in plan.slots.shape.predictors}
    alike = [f"{a} and {b}" for a, b in combinations(read, 2) if read[a] == read[b]]
    told = "read the same parameters throughout: nothing says which language to write (model.decoders=one has tags)"
    return [f"{pair} {told}" for pair in alike]


def _notes(slots: Slots, chosen: Rule, options: Mapping[str, Any], pairs: Sequence[Pair]) -> list[str]:
    """What is worth saying of a rule in this model: that it ties nothing, or where a paper's code differs."""
    said = []
    if not pairs and chosen.name not in ("none", "shared_vocab"):
        said.append("ties nothing in this model")
    if chosen.note is not None:
        own = {k: v for k, v in options.items() if k not in ("stacks", "parts", "norms")}
        notes = [chosen.note(stack.n_layers, **own) for stack in choose_stacks(slots, options.get("stacks"))]
        said += dict.fromkeys(note for note in notes if note)
    return said


def tying_label(ties: Ties) -> str:
    """The labels of the chosen schemes, joined: `three_way+cross_layer`; `none` where nothing is chosen."""
    return "+".join(ties) or "none"
