"""Rules that share tables, stacks and projections, and the plan that labelled rules make of a model.

A new scheme needs one function here, or a layer map in `layer_rules`, and one file under `conf/tying/`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, combinations, pairwise, product
from typing import Any

from tietrain.errors import SettingsError, TyingError, check_choice
from tietrain.plan import layer_rules, view_rules  # noqa: F401  (fill RULES)
from tietrain.plan.installed import find_rule
from tietrain.plan.plan import Pair, TyingPlan, resolve
from tietrain.plan.rules import ATTENTION, Reading, Rule, choose_parts, choose_stacks, layer_blocks, rule
from tietrain.plan.slots import ModelShape, Slots, Stack
from tietrain.plan.views import Chain

Ties = Mapping[str, Mapping[str, Any]]


@rule(source="-")
def none(slots: Slots) -> list[Pair]:
    """Nothing is shared; source and target have separate vocabularies."""
    return []


@rule(source="Sennrich et al. 2016, section 3.2 (joint BPE)", joint_vocabulary=True, encoder=True)
def shared_vocab(slots: Slots) -> list[Pair]:
    """One joint vocabulary with separate tables: the control that separates the effect of the vocabulary from the tie."""
    return []


@rule(source="offered by toolkits: Sockeye, Marian, Nematus", joint_vocabulary=True, encoder=True)
def embeddings(slots: Slots) -> list[Pair]:
    """All stacks share one embedding table."""
    reading = [stack for stack in slots.shape.stacks if not stack.n_features]
    return list(pairwise(f"{stack.name}.embed" for stack in reading))


@rule(source="Press & Wolf 2017; Inan et al. 2017; Vaswani et al. 2017, section 3.4")
def pre_softmax(slots: Slots) -> list[Pair]:
    """Every output projection reads the embedding table of its own stack."""
    return [(f"{stack.name}.output.weight", f"{stack.name}.embed.weight") for stack in slots.shape.predictors]


@rule(source="Press & Wolf 2017 (TWWT); Vaswani et al. 2017, section 3.4", joint_vocabulary=True, encoder=True)
def three_way(slots: Slots) -> list[Pair]:
    """Source embedding, target embedding and output projection are one table."""
    return embeddings(slots) + pre_softmax(slots)


@rule(source="no reported ablation is known", encoder=True)
def positions(slots: Slots) -> list[Pair]:
    """All stacks share one learned position table."""
    if slots.shape.positions != "learned":
        problem = "these positions have no parameters, and all stacks use the same ones already"
        remedy = "set model.positions=learned to share a table"
        raise TyingError(f"model.positions={slots.shape.positions}", problem, remedy)
    return list(pairwise(f"{stack.name}.positions" for stack in slots.shape.stacks))


@rule(source="Xia et al. 2019; depth=one: Dabre & Fujita 2019; FFN only: Pires et al. 2023", encoder=True)
def encoder_decoder(
    slots: Slots, depth: str = "each", parts: Sequence[str] | None = None, norms: bool = True
) -> list[Pair]:
    """Encoder and decoder share layers; cross-attention is only in the decoder and is never tied to self-attention.

    With several encoders or decoders, all of them share.

    Args:
        depth: each: layer i of every stack is one layer, so the depths must be equal; one: all layers of all stacks are
            one layer.
        parts: see `layer_rules.layer_rule`; None for all.
        norms: whether the norms of shared parts are shared.
    """
    check_choice("depth", depth, ("each", "one"), TyingError)
    stacks = slots.shape.stacks
    names = choose_parts(slots, stacks, parts, norms=norms)
    if depth == "one":
        return list(chain.from_iterable(pairwise(layer_blocks(slots, stacks, [name])) for name in names))
    if len({stack.n_layers for stack in stacks}) > 1:
        problem = " and ".join(f"{stack.name} has {stack.n_layers} layers" for stack in stacks)
        raise TyingError("depth=each", problem, "make the depths equal, or choose depth=one")
    return _same_layers(slots, stacks, names)


@rule(source="Sachan & Neubig 2018 (decoders); one encoder for two sources: WMT post-editing systems")
def same_role(
    slots: Slots, role: str = "encoder", parts: Sequence[str] | None = None, norms: bool = True
) -> list[Pair]:
    """Layer i of all encoders, or of all decoders, is one layer, completely or in part; other rules share tables.

    Args:
        role: encoder or decoder.
        parts: see `layer_rules.layer_rule`; None for all, including final norms.
        norms: whether the norms of parts that share something are shared.
    """
    check_choice("role", role, ("encoder", "decoder"), TyingError)
    stacks = [stack for stack in slots.shape.stacks if stack.has_output == (role == "decoder")]
    if len(stacks) < 2:
        problem = f"this model has {len(stacks)} {role} stack{'' if len(stacks) == 1 else 's'}"
        sources = "read two sources in task.directions, or " if role == "encoder" else ""
        remedy = f"{sources}set model.{role}s=each with several languages"
        raise TyingError(f"role={role}", problem, remedy)
    names = choose_parts(slots, stacks, parts)
    if norms:
        names += dict.fromkeys(f"{name.split('.')[0]}_norm" for name in names)
    pairs = _same_layers(slots, stacks, names)
    return pairs + _across(slots, stacks, "final_norm") if parts is None and norms else pairs


@rule(source="no reported ablation is known; separate ones are the serial combination of Libovicky et al. 2018")
def cross_attentions(slots: Slots) -> list[Pair]:
    """With two sources and one cross-attention for each, both read one set of projections in every layer."""
    second = layer_blocks(slots, slots.shape.stacks, ("cross_attn2", "cross_attn2_norm"))
    pairs = [(block, block.replace("cross_attn2", "cross_attn")) for block in second]
    if not pairs:
        remedy = "set model.source_attention=each with two sources"
        raise TyingError("cross_attn2", "no layer of this model has a second cross-attention", remedy)
    return pairs


@rule(source="tietrain", example={"groups": [["decoder.0.ffn", "decoder.1.ffn"]]})
def groups(slots: Slots, groups: Sequence[Sequence[str]] | None = None) -> list[Pair]:
    """All that a group names is one: layers, parts of layers or single parameters, such as decoder.0.ffn.in.weight."""
    return group_pairs(groups, "write for example groups=[[decoder.0.ffn,decoder.2.ffn]]")


def group_pairs(groups: Sequence[Sequence[str]] | None, example: str) -> list[Pair]:
    """The pairs of names that lists of names tie; TyingError, with the example, if they are no such lists."""
    if not groups:
        raise TyingError(f"groups={'null' if groups is None else '[]'}", "it names nothing to tie", example)
    for group in groups:
        if isinstance(group, str) or len(group) < 2 or not all(isinstance(name, str) for name in group):
            raise TyingError(f"groups={groups}", f"{group} is not a list of two names or more", example)
    return list(chain.from_iterable(map(pairwise, groups)))


@rule(source="Kitaev et al. 2020 (Reformer, shared-QK), without its normalized keys")
def query_key(slots: Slots, stacks: Sequence[str] | None = None, parts: Sequence[str] | None = None) -> list[Pair]:
    """Queries and keys of an attention read one projection; each is still computed.

    Args:
        stacks: names of stacks; None for all.
        parts: self_attn, cross_attn; None for every attention.
    """
    shape = slots.shape
    if shape.n_kv_heads != shape.n_heads:
        problem = f"grouped keys are narrower than the queries of model.n_heads={shape.n_heads}"
        raise TyingError(f"model.n_kv_heads={shape.n_kv_heads}", problem, "set model.n_kv_heads=null")
    chosen = choose_stacks(slots, stacks)
    for name in parts or ():
        check_choice("parts", name, (*ATTENTION, "attention"), TyingError)
    attentions = choose_parts(slots, chosen, ["attention"] if parts is None else parts)
    return [(f"{block}.k", f"{block}.q") for block in layer_blocks(slots, chosen, attentions)]


def _same_layers(slots: Slots, stacks: Sequence[Stack], parts: Sequence[str]) -> list[Pair]:
    blocks = product(range(stacks[0].n_layers), parts)
    return list(chain.from_iterable(_across(slots, stacks, f"{layer}.{part}") for layer, part in blocks))


def _across(slots: Slots, stacks: Sequence[Stack], block: str) -> list[Pair]:
    """A block, `3.ffn`, of every stack that has it is tied to that of the stack before."""
    names = [f"{stack.name}.{block}" for stack in stacks]
    return list(pairwise(name for name in names if slots.under(name)))


def check_ties(ties: Ties) -> None:
    """Check that every label has a known rule and only options of that rule; a TyingError names the full key."""
    for label, tie in ties.items():
        key = f"tying.ties.{label}"
        if not isinstance(tie, Mapping):
            raise TyingError(f"{key}={tie}", "a tie is a rule with its options", f"write {key}={{rule: NAME}}")
        if tie and "rule" not in tie:  # an option that ++ added to another scheme
            option, value = next(iter(tie.items()))
            raise SettingsError(
                key, "it has no rule", f"write the option at its scheme: tying={label}:{option}:{value}"
            )
        try:
            defaults = find_rule(tie.get("rule")).options
            for option, value in _options(tie).items():
                check_choice("option", option, defaults, TyingError)
                _check_type(option, value, defaults[option])
        except TyingError as e:
            raise TyingError(f"{key}.{e.setting}", e.problem, e.remedy) from None
    if len(ties) > 1 and "none" in ties:
        others = ",".join(label for label in ties if label != "none")
        problem = "none ties nothing and cannot be combined with other schemes"
        raise TyingError(f"tying=[{', '.join(ties)}]", problem, f"write tying=[{others}]")


def _options(tie: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tie.items() if name != "rule"}


def _check_type(option: str, value: object, default: object) -> None:
    """TyingError unless a value has the type of its default; a default of None stands for None or a list."""
    if default is None:
        fits = value is None or (isinstance(value, Sequence) and not isinstance(value, str))
        wanted = "a list: [a,b]"
    else:
        fits = type(value) is type(default) or (type(value), type(default)) == (int, float)
        wanted = f"a value of type {type(default).__name__}"
    if not fits:
        raise TyingError(f"{option}={value}", "the value has the wrong type", f"give {wanted}")


def needs_joint_vocabulary(ties: Ties) -> bool:
    """Whether any chosen rule joins the vocabularies of two languages."""
    return any(find_rule(tie["rule"]).joint_vocabulary for tie in ties.values())


def make_plan(shape: ModelShape, ties: Ties) -> TyingPlan:
    """The plan of a model under labelled rules, as a file of `conf/tying/` gives them.

    Raises:
        TyingError: a rule is unknown, lacks an option, or does not fit the model; the message names the scheme, the slots
            that the model has, and what would fit.
    """
    check_ties(ties)
    plan = resolve(shape, [])
    pairs: list[Pair] = []
    views: dict[str, Chain] = {}
    notes: list[str] = []
    # Views last, since they are of what the other rules share.
    for label, tie in sorted(ties.items(), key=lambda item: find_rule(item[1]["rule"]).readings is not None):
        chosen = find_rule(tie["rule"])
        options = _options(tie)
        _check_fits(shape, label, chosen)
        try:
            added = chosen.pairs(plan.slots, **options)
            readings = chosen.readings(plan, **options) if chosen.readings else []
            pairs += added
            views = _with_readings(views, readings)
            plan = resolve(plan.slots, pairs, views)
        except TyingError as e:
            raise TyingError(f"tying={label}: {e.setting}", e.problem, e.remedy) from None
        if not added and not readings and chosen.name not in ("none", "shared_vocab"):
            notes.append(f"{label}: {'changes' if chosen.readings else 'ties'} nothing in this model")
        notes += [f"{label}: {note}" for note in _rule_notes(plan.slots, chosen, options)]
    return replace(plan, notes=(*notes, *_identical_predictors(plan)))


def _with_readings(views: Mapping[str, Chain], readings: Sequence[Reading]) -> dict[str, Chain]:
    """Views with those of a rule after them; TyingError if a slot is read through one view twice."""
    found = dict(views)
    for name, view, options in readings:
        chain = found.get(name, ())
        if view in [other for other, _ in chain]:
            raise TyingError(view, f"{name} is read through it already", "choose other stacks or parts")
        found[name] = (*chain, (view, options))
    return found


def _check_fits(shape: ModelShape, label: str, chosen: Rule) -> None:
    if chosen.joint_vocabulary and len({stack.vocabulary for stack in shape.stacks if not stack.n_features}) > 1:
        problem = "it needs one vocabulary for both languages, and this model has one per language"
        raise TyingError(f"tying={label}", problem, "leave data.vocabulary=auto")
    if chosen.encoder and len(shape.stacks) < 2:
        tables = ", ".join(f"{stack.name}.embed, {stack.name}.output" for stack in shape.stacks)
        problem = f"it joins source and target, and this model has one stack: {tables}"
        remedy = "a language model ties its tables by tying=pre_softmax and its layers by tying=cross_layer"
        raise TyingError(f"tying={label}", problem, remedy)


def _identical_predictors(plan: TyingPlan) -> list[str]:
    """A note for every two stacks that predict and read exactly the same parameters."""
    predictors = [stack.name for stack in plan.slots.shape.predictors]
    read = {name: [plan.read_by(slot.name) for slot in plan.slots.under(name)] for name in predictors}
    problem = "read the same parameters: nothing tells the model which language to write (model.decoders=one has tags)"
    return [f"{a} and {b} {problem}" for a, b in combinations(read, 2) if read[a] == read[b]]


def _rule_notes(slots: Slots, chosen: Rule, options: Mapping[str, Any]) -> list[str]:
    """What a rule has to say about the stacks of this model, each note once."""
    if chosen.note is None:
        return []
    own = {name: value for name, value in options.items() if name not in ("stacks", "parts", "norms")}
    notes = [chosen.note(stack.n_layers, **own) for stack in choose_stacks(slots, options.get("stacks"))]
    return list(dict.fromkeys(note for note in notes if note))


def tying_label(ties: Ties) -> str:
    """The labels of the chosen schemes, joined: `three_way+cross_layer`; `none` if nothing is chosen."""
    return "+".join(ties) or "none"
