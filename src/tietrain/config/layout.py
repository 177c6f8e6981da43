"""Configuration -> the stacks of the model: which of them reads which column in which vocabulary, and their sizes."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

from tietrain.config import RunConfig
from tietrain.config.directions import Direction
from tietrain.errors import SettingsError, TyingError
from tietrain.plan.slots import ModelShape, Stack

# What a masked language model reads in the place of a hidden token.
MASK = "mask"


@dataclass(frozen=True)
class Layout:
    """The stacks of a run and what they read.

    encoders, decoders: column -> the stack that reads it as a source, writes it as a target. directions: those that are
    trained, then those of task.zero_shot. vocabularies: stack -> name of its vocabulary; none for feature vectors.
    columns: vocabulary -> the columns it is learned from. tags: names of pieces that stand for no text: of targets, put
    before the first source if a decoder writes several languages (Johnson et al. 2017); MASK of a masked
    language model.
    """

    encoders: dict[str, str]
    decoders: dict[str, str]
    directions: tuple[Direction, ...]
    vocabularies: dict[str, str]
    columns: dict[str, tuple[str, ...]]
    tags: tuple[str, ...]

    @cached_property
    def stacks(self) -> tuple[str, ...]:
        """Encoders, then decoders."""
        return tuple(dict.fromkeys([*self.encoders.values(), *self.decoders.values()]))

    def route(self, direction: Direction) -> tuple[str, ...]:
        """The stacks a direction runs through, the one that predicts last."""
        return (*(self.encoders[source] for source in direction.sources), self.decoders[direction.target])

    @property
    def routes(self) -> tuple[tuple[str, ...], ...]:
        """Those of all directions, each once."""
        return tuple(dict.fromkeys(self.route(direction) for direction in self.directions))


def make_layout(config: RunConfig) -> Layout:
    """The layout of a configuration.

    Raises:
        SettingsError: one encoder is asked to read several sources at once.
    """
    directions = (*config.directions, *config.zero_shot)
    sources = list(dict.fromkeys(source for d in directions for source in d.sources))
    targets = list(dict.fromkeys(d.target for d in directions))
    several = max(len(d.sources) for d in directions) > 1
    if several and config.model.encoders == "one":
        requested = next(d.name for d in directions if len(d.sources) > 1)
        problem = f"{requested} has several sources, and each needs its own encoder"
        raise SettingsError("model.encoders=one", problem, "choose model.encoders=each with tying=one_encoder")
    features = config.data.features
    each = config.model.encoders == "each" or several
    encoders = _stacks("encoder", sources, each or bool(features))
    only = "encoder" if config.task.name == "mlm" else "decoder"
    decoders = _stacks(only, targets, config.model.decoders == "each" and bool(config.task.directions))
    read: dict[str, list[str]] = {}
    for column, stack in [*encoders.items(), *decoders.items()]:
        if column not in features:
            read.setdefault(stack, []).append(column)
    joint = config.joint_vocabulary
    every = tuple(column for column in config.columns if any(column in columns for columns in read.values()))
    learned = {s: every if joint else tuple(c for c in config.columns if c in of) for s, of in read.items()}
    vocabularies = {stack: "joint" if joint else "+".join(columns) for stack, columns in learned.items()}
    tags = tuple(targets) if config.model.decoders == "one" and len(targets) > 1 else ()
    tags = (MASK,) if config.task.name == "mlm" else tags
    named = {vocabularies[stack]: columns for stack, columns in learned.items()}
    return Layout(encoders, decoders, directions, vocabularies, named, tags)


def _stacks(role: str, columns: list[str], each: bool) -> dict[str, str]:
    """Column -> name of its stack; a name of a stack has no dots."""
    stacks = {column: f"{role}_{column.replace('.', '_')}" if each else role for column in columns}
    if each and len(set(stacks.values())) < len(columns):
        problem = f"stacks are named after columns, with _ for a dot, and {', '.join(columns)} are not told apart so"
        raise SettingsError("data.columns", problem, "rename a column")
    return stacks


def requested_sizes(config: RunConfig) -> dict[str, int]:
    """Stack -> pieces that the configuration requests of its vocabulary.

    Raises:
        SettingsError: model.target_vocab_size is set, and sources and targets have a vocabulary in common. TyingError if
            it is the ties that need it.
    """
    layout = make_layout(config)
    target = config.model.target_vocab_size
    sizes = dict.fromkeys(layout.vocabularies, config.model.vocab_size)
    if target is None or config.task.name != "mt":
        return sizes
    written = dict.fromkeys(layout.decoders.values(), target)
    read = {name for stack, name in layout.vocabularies.items() if stack not in written}
    if common := read.intersection(layout.vocabularies[stack] for stack in written):
        is_forced = config.joint_vocabulary and config.data.vocabulary == "auto"
        requested = f"model.target_vocab_size={target}"
        if is_forced:
            requested = f"tying={config.tying_label} {requested}"
        problem = f"sources and targets have one vocabulary ({', '.join(sorted(common))})"
        raise (TyingError if is_forced else SettingsError)(requested, problem, "leave it null, or separate them")
    return sizes | written


def make_shape(
    config: RunConfig, vocab_sizes: Mapping[str, int] | None = None, vocabularies: Mapping[str, str] | None = None
) -> ModelShape:
    """The model's shape.

    Args:
        vocab_sizes: stack -> real size; None takes the requested ones, as a plan without data does.
        vocabularies: stack -> content name; None names them by their columns, or `joint`.
    """
    m, layout = config.model, make_layout(config)
    sizes = vocab_sizes or requested_sizes(config)
    contents = vocabularies or layout.vocabularies
    widths = {layout.encoders[c]: width for c, width in config.data.features.items() if c in layout.encoders}
    encoders = tuple(dict.fromkeys(layout.encoders.values()))
    memories = (encoders,) if m.source_attention == "one" else tuple((name,) for name in encoders)
    depth = m.n_encoder_layers or m.n_layers
    stacks = [
        Stack(name, depth, sizes.get(name, 0), contents.get(name, ""), n_features=widths.get(name, 0))
        for name in encoders
    ]
    predicts = config.task.name != "mlm"
    stacks += [
        Stack(name, m.n_layers, sizes[name], contents[name], predicts, memories if encoders else (), has_output=True)
        for name in dict.fromkeys(layout.decoders.values())
    ]
    # The other fields of a shape have the names of settings.
    names = {field.name for field in fields(ModelShape)} - {"stacks", "routes"}
    named = {name: getattr(m, name) for name in names}
    named |= {"n_kv_heads": m.n_kv_heads or m.n_heads, "d_head": m.d_head or m.d_model // m.n_heads}
    return ModelShape(tuple(stacks), routes=layout.routes, **named)
