"""How well-known models of other libraries name their parameters: schemes as groups of names, and promises to check."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from tietrain.errors import TyingError, check_choice
from tietrain.plan.layer_rules import cross_layer

Groups = tuple[tuple[str, ...], ...]
# Roles of tables: what the (last) stack reads, what it writes, and what the encoder reads.
EMBED, OUTPUT, SOURCE = "embed", "output", "source"


@dataclass(frozen=True)
class Family:
    """Ends of the names that a family of models gives its tables, and what stands before the number of a layer.

    tables: role -> ends of names, the first that a model has counts. stacks: in forward order.
    renamed: of an encoder-decoder, the beginning of a leaf in the decoder -> in the encoder; None if only the decoder has it.
    """

    name: str
    tables: Mapping[str, tuple[str, ...]]
    stacks: tuple[str, ...]
    renamed: Mapping[str, str | None] = field(default_factory=dict)


BOTH_TABLES = {
    SOURCE: ("encoder.embed_tokens.weight", "shared.weight"),
    EMBED: ("decoder.embed_tokens.weight", "shared.weight"),
    OUTPUT: ("lm_head.weight",),
}
# Of several that fit, the first counts.
FAMILIES = (
    Family(
        "T5",
        BOTH_TABLES,
        ("encoder.block", "decoder.block"),
        # The decoder has its cross-attention between the two parts of an encoder layer.
        {"layer.1.": None, "layer.2.": "layer.1.", "layer.0.SelfAttention.relative": None},
    ),
    Family("Marian", BOTH_TABLES, ("encoder.layers", "decoder.layers")),
    Family(
        "BERT",
        {EMBED: ("word_embeddings.weight",), OUTPUT: ("cls.predictions.decoder.weight",)},
        ("encoder.layer",),
    ),
    Family("GPT-2", {EMBED: ("wte.weight",), OUTPUT: ("lm_head.weight",)}, ("h",)),
    Family("Llama", {EMBED: ("embed_tokens.weight",), OUTPUT: ("lm_head.weight",)}, ("layers",)),
)
# Switch of a configuration -> the tables that are one if it is on, and two if it is off.
PROMISES = {
    "tie_word_embeddings": (EMBED, OUTPUT),
    "share_decoder_input_output_embed": (EMBED, OUTPUT),
    "share_encoder_decoder_embeddings": (SOURCE, EMBED),
}


def find_family(names: Collection[str]) -> Family | None:
    """The family whose layers a model has; None if it is not known here."""
    fitting = (family for family in FAMILIES if all(_layers(names, stack) for stack in family.stacks))
    return next(fitting, None)


def find_tables(names: Collection[str]) -> dict[str, str]:
    """Role -> name of that table, for the tables of a known family that are among the names."""
    family = find_family(names)
    found: dict[str, str] = {}
    for role, ends in (family.tables if family else {}).items():
        matching = [name for end in ends for name in names if f".{name}".endswith(f".{end}")]
        if matching:
            found[role] = matching[0]
    return found


def scheme_groups(scheme: str, names: Collection[str], n_unique: int = 2) -> list[list[str]]:
    """What a scheme makes one in a model with these parameters; the first name of a group keeps its values.

    Args:
        scheme: a key of SCHEMES.
        n_unique: of cycle, the number of layers that repeat.
    Raises:
        TyingError: there is no such scheme, or the family is not known, or the scheme does not fit it.
    """
    check_choice("scheme", scheme, SCHEMES, TyingError)
    family = find_family(names)
    if family is None:
        known = ", ".join(family.name for family in FAMILIES)
        problem = f"the names of these layers are not known here (known are {known})"
        raise TyingError(f"scheme={scheme}", problem, "write groups of names")
    groups = [group for group in SCHEMES[scheme](family, names, n_unique) if len(group) > 1]
    if not groups:
        raise TyingError(
            f"scheme={scheme}", "it ties nothing in this model", "choose another, or write groups of names"
        )
    return groups


def _pre_softmax(family: Family, names: Collection[str], n_unique: int) -> list[list[str]]:
    return [_tables("pre_softmax", family, names, (EMBED, OUTPUT))]


def _three_way(family: Family, names: Collection[str], n_unique: int) -> list[list[str]]:
    return [_tables("three_way", family, names, (SOURCE, EMBED, OUTPUT))]


def _tables(scheme: str, family: Family, names: Collection[str], roles: tuple[str, ...]) -> list[str]:
    found = find_tables(names)
    for role in roles:
        if role not in found:
            problem = f"this model has no {role} table named as in {family.name}"
            raise TyingError(f"scheme={scheme}", problem, "choose another scheme, or write groups of names")
    return list(dict.fromkeys(found[role] for role in roles))


def _universal(family: Family, names: Collection[str], n_unique: int) -> list[list[str]]:
    return _cycle(family, names, 1)


def _cycle(family: Family, names: Collection[str], n_unique: int) -> list[list[str]]:
    groups: dict[tuple[str, int, str], list[str]] = {}
    for stack in family.stacks:
        layers = _layers(names, stack)
        sets = cross_layer(1 + max(layer for layer, _ in layers), "cycle", n_unique)
        for (layer, leaf), name in sorted(layers.items()):
            groups.setdefault((stack, sets[layer], leaf), []).append(name)
    return list(groups.values())


def _encoder_decoder(family: Family, names: Collection[str], n_unique: int) -> list[list[str]]:
    if len(family.stacks) < 2:
        problem = f"it joins an encoder with a decoder, and {family.name} has one stack"
        raise TyingError("scheme=encoder_decoder", problem, "choose universal or cycle")
    encoder, decoder = (_layers(names, stack) for stack in family.stacks)
    depths = [1 + max(layer for layer, _ in layers) for layers in (encoder, decoder)]
    if depths[0] != depths[1]:
        problem = f"the encoder has {depths[0]} layers and the decoder {depths[1]}"
        raise TyingError("scheme=encoder_decoder", problem, "make the depths equal, or write groups of names")
    groups = []
    for (layer, leaf), name in sorted(decoder.items()):
        partner = encoder.get((layer, _in_encoder(family, leaf)))
        if partner:
            groups.append([partner, name])
    return groups


def _in_encoder(family: Family, leaf: str) -> str:
    """What the encoder calls a leaf of the decoder; empty if it has none."""
    for begin, other in family.renamed.items():
        if leaf.startswith(begin):
            return "" if other is None else other + leaf.removeprefix(begin)
    return leaf


def _layers(names: Collection[str], stack: str) -> dict[tuple[int, str], str]:
    """Layer and leaf -> name, for the layers of a stack."""
    found = ((re.search(rf"(?:^|\.){re.escape(stack)}\.(\d{{1,6}})\.(.+)", name), name) for name in names)
    return {(int(match[1]), match[2]): name for match, name in found if match}


SCHEMES: dict[str, Callable[[Family, Collection[str], int], list[list[str]]]] = {
    "pre_softmax": _pre_softmax,
    "three_way": _three_way,
    "universal": _universal,
    "cycle": _cycle,
    "encoder_decoder": _encoder_decoder,
}


@dataclass(frozen=True)
class Promise:
    """What a switch of a configuration says of two tables: one tensor, or two. None for a name that was not found."""

    switch: str
    one: bool
    first: str | None
    second: str | None

    def __str__(self) -> str:
        return f"{self.switch} says {'one tensor' if self.one else 'two tensors'}"


def read_promises(config: Mapping[str, object], tables: Mapping[str, str]) -> list[Promise]:
    """The promises of a configuration; of switches whose values are no plain truth values, none.

    Args:
        tables: role -> name of a parameter.
    """
    given = {switch: roles for switch, roles in PROMISES.items() if isinstance(config.get(switch), bool)}
    return [Promise(switch, config[switch] is True, *map(tables.get, roles)) for switch, roles in given.items()]
