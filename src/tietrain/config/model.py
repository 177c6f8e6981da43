"""The shape of the model, and what it shares."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Optional

from tietrain.config.data import TRANSLATION
from tietrain.config.setting import Condition, check, check_section, setting, when, when_given
from tietrain.plan.schemes import check_ties
from tietrain.plan.tables import Tables

# OmegaConf reads these annotations: Optional[...] is spelled out because it accepts no `X | None` of nested types.

# More would not fit into any memory, nor the product of two into an index.
MAX_LAYERS = 1000
MAX_WIDTH = 2**20
MAX_PIECES = 2**24
MAX_STD = 1e6


def _has_two_sources(flat: Any) -> bool:
    directions = flat.get("task.directions")
    if directions:
        return any("+" in name for name in directions)
    return len(flat.get("data.columns") or []) > 2


TWO_SOURCES = Condition(_has_two_sources, "task.directions", "a direction reads two sources")


@dataclass(frozen=True)
class Parametrisation:
    """What a name of `model.tables` stands for; the fields are settings of the model."""

    embed_scale: str
    output_scale: str
    table_init_std: float | None
    init_std: dict[str, float] = field(default_factory=dict)


PARAMETRISATIONS = {
    # Radford et al. 2019, code; nanoGPT.
    "gpt2": Parametrisation("1", "1", 0.02),
    # The same with the factor of Vaswani et al. 2017: tietrain's default before version 0.3.
    "gpt2_scaled": Parametrisation("sqrt_d", "1", 0.02),
    # Vaswani et al. 2017, section 3.4; initial values of fairseq and Marian.
    "vaswani": Parametrisation("sqrt_d", "1", None),
    # Raffel et al. 2020, code: tied logits are scaled. Here every arm's are, so that arms differ in the tie alone.
    "t5": Parametrisation("1", "rsqrt_d", 1.0),
    # nanochat: large embeddings and an output table of zeros. A tied table cannot be both: it starts as GPT-2's.
    "zero_head": Parametrisation("1", "1", 0.02, {"source": 1.0, "input": 1.0, "output": 0.0}),
}
# Task -> the parametrisation with the lowest mean over ties of the tuned loss: docs/tables.md.
DEFAULT_TABLES = {"lm": "gpt2_scaled", "mlm": "vaswani", "mt": "vaswani"}


@dataclass
class InitStd:
    """Initial standard deviations by role; null is what model.tables says, else model.table_init_std."""

    source: Optional[float] = setting(None, TRANSLATION, ge=0, le=MAX_STD, tunable=True, absent=None)
    """Of tables that encoders alone read."""
    input: Optional[float] = setting(None, ge=0, le=MAX_STD, tunable=True, absent=None)
    """Of other tables that are read as embeddings alone."""
    output: Optional[float] = setting(None, ge=0, le=MAX_STD, tunable=True, absent=None)
    """Of tables that are output projections alone."""
    tied: Optional[float] = setting(None, ge=0, le=MAX_STD, tunable=True, absent=None)
    """Of tables that are embeddings and output projections."""
    positions: Optional[float] = setting(
        None, when("model.positions", "learned"), ge=0, le=MAX_STD, tunable=True, absent=None
    )
    """Of learned positions; null is 0.02."""

    def __post_init__(self) -> None:
        check_section(self, "model.init_std.")

    @property
    def stated(self) -> dict[str, float]:
        """Role -> standard deviation, of the roles that have one."""
        return {role: std for role, std in asdict(self).items() if std is not None}


@dataclass
class InitTables:
    """Files of vectors that token tables start from, by what reads them.

    A file is text, a name and its numbers on each line (word2vec, fastText, GloVe), or a safetensors file of one table.
    """

    source: Optional[str] = setting(None, identity=False, absent=None)
    """File for what encoders read; its content counts and not its name. A tied table starts from that of any of its uses."""
    input: Optional[str] = setting(None, identity=False, absent=None)
    """File for what decoders read, and language models."""
    output: Optional[str] = setting(None, identity=False, absent=None)
    """File for output projections."""
    contents: dict[str, str] = setting({}, open=True, written=True, absent={})
    """Which of them -> sha256 of its file: runs that start from one file are the same wherever it lies."""

    @property
    def files(self) -> dict[str, str]:
        """Use -> its file, of the uses that have one."""
        named = {"source": self.source, "input": self.input, "output": self.output}
        return {use: file for use, file in named.items() if file is not None}


@dataclass
class ModelConfig:
    """Shape and initial values of the Transformer; `plan.slots.ModelShape` says what decides parameters."""

    d_model: int = setting(128, ge=1, le=MAX_WIDTH)
    """Width of the residual stream."""
    n_heads: int = setting(4, ge=1, le=MAX_WIDTH)
    """Heads per attention."""
    n_kv_heads: Optional[int] = setting(None, ge=1, le=MAX_WIDTH)
    """Heads of keys and values; null for as many as n_heads."""
    d_head: Optional[int] = setting(None, ge=1, le=MAX_WIDTH)
    """Width of a head; null for d_model / n_heads."""
    d_ff: int = setting(512, ge=1, le=MAX_WIDTH)
    """Inner width of the feed-forward."""
    n_layers: int = setting(3, ge=1, le=MAX_LAYERS)
    """Layers of the decoder, and of the encoder unless n_encoder_layers is set."""
    n_encoder_layers: Optional[int] = setting(None, TRANSLATION, ge=1, le=MAX_LAYERS)
    """Layers of each encoder; null for as many as n_layers."""
    encoders: Optional[str] = setting(None, TRANSLATION, choices=("one", "each"))
    """One encoder for all sources or one each; null is one, or each if a direction has several sources."""
    decoders: str = setting("one", when_given("task.directions"), choices=("one", "each"))
    """One decoder for all targets or one each."""
    source_attention: str = setting("one", TWO_SOURCES, choices=("one", "each"))
    """One cross-attention over all that the encoders of a direction read, or one per encoder. Source: Libovicky et al.
    2018, flat and serial combination."""
    vocab_size: int = setting(1000, ge=1, le=MAX_PIECES, pieces=True)
    """Pieces requested of each vocabulary; a run records what it got."""
    target_vocab_size: Optional[int] = setting(None, TRANSLATION, ge=1, le=MAX_PIECES, pieces=True, absent=None)
    """Pieces requested of vocabularies that are written, where sources have their own; null is model.vocab_size."""
    max_len: int = setting(512, when("model.positions", "learned"), ge=1, le=MAX_PIECES)
    """Rows of a learned table of positions."""
    norm: str = setting("layer", choices=("layer", "rms"))
    """Normalisation."""
    norm_position: str = setting("pre", choices=("pre", "post"))
    """Place of the norms: before or after each sub-layer."""
    positions: str = setting("rotary", choices=("learned", "sinusoidal", "rotary"))
    """Kind of positions."""
    activation: str = setting("gelu", choices=("relu", "gelu", "gelu_tanh", "swiglu"))
    """Activation of the feed-forward."""
    attn_bias: bool = setting(False)
    """Whether the projections of attentions have a bias."""
    ffn_bias: bool = setting(False)
    """Whether the projections of feed-forwards have a bias."""
    norm_bias: bool = setting(False)
    """Whether norms have a bias."""
    output_bias: bool = setting(False)
    """Whether the output projection has a bias."""
    dropout: float = setting(0.1, ge=0, le=0.99, tunable=True)
    """Dropout of embeddings and sub-layers."""
    tables: str = setting("auto", identity=False, choices=("auto", *PARAMETRISATIONS), tunable=True, absent="auto")
    """Parametrisation of the token tables: what the next settings are if they are auto or null. auto is the one that was
    measured best on average over ties, per task (docs/tables.md)."""
    embed_scale: str = setting("auto", choices=("auto", "1", "sqrt_d"), tunable=True)
    """Factor on the embeddings that a table gives."""
    output_scale: str = setting("auto", choices=("auto", "1", "rsqrt_d"), tunable=True, absent="1")
    """Factor on the hidden states before the output projection: 1 or d_model ** -0.5."""
    table_init_std: Any = setting("auto", tunable=True)
    """Initial standard deviation of every table without one in init_std: a number, null for d_model ** -0.5, or auto."""
    init_std: InitStd = field(default_factory=InitStd)

    def __post_init__(self) -> None:
        check_section(self, "model.")
        std = self.table_init_std
        holds = std in (None, "auto") or (type(std) in (int, float) and 0 <= std <= MAX_STD)
        check(
            holds,
            f"model.table_init_std={std}",
            "it is not a standard deviation",
            f"give a number up to {MAX_STD:,.0f}, null or auto",
        )
        check(
            self.d_head is not None or self.d_model % self.n_heads == 0,
            f"model.n_heads={self.n_heads}",
            f"it does not divide model.d_model={self.d_model}",
            "choose a divisor or set model.d_head",
        )
        n_kv = self.n_kv_heads or self.n_heads
        check(
            self.n_heads % n_kv == 0,
            f"model.n_kv_heads={n_kv}",
            f"it does not divide model.n_heads={self.n_heads}",
            "choose a divisor",
        )
        d_head = self.d_head or self.d_model // self.n_heads
        check(
            self.positions != "rotary" or d_head % 2 == 0,
            f"model.positions={self.positions}",
            f"it turns pairs and a head has {d_head} numbers",
            "choose an even model.d_head",
        )

    def settle_tables(self, task: str) -> None:
        """Give each setting of the tables that is open the value that its parametrisation says."""
        if self.tables == "auto":
            self.tables = DEFAULT_TABLES[task]
        named = PARAMETRISATIONS[self.tables]
        for name in ("embed_scale", "output_scale", "table_init_std"):
            if getattr(self, name) == "auto":
                setattr(self, name, getattr(named, name))
        self.init_std = replace(self.init_std, **named.init_std | self.init_std.stated)

    @property
    def table_values(self) -> Tables:
        """The parametrisation of the tables as numbers."""
        factors = {"1": 1.0, "sqrt_d": self.d_model**0.5, "rsqrt_d": self.d_model**-0.5}
        scales = factors[self.embed_scale], factors[self.output_scale]
        return Tables(self.table_init_std, self.init_std.stated, *scales)


@dataclass
class TyingConfig:
    """Labelled tying rules: label -> {rule: NAME, options of that rule}."""

    ties: dict[str, Any] = setting({}, open=True)
    """Label -> {rule: NAME, options of the rule}; `tietrain schemes` lists the rules."""

    def __post_init__(self) -> None:
        check_ties(self.ties)
