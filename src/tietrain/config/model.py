"""The shape of the model, and what it shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from tietrain.config.data import TRANSLATION
from tietrain.config.setting import Condition, check, check_section, setting, when, when_given
from tietrain.plan.schemes import check_ties

# OmegaConf reads these annotations: Optional[...] is spelled out because it accepts no `X | None` of nested types.
# ruff: noqa: UP045

MAX_LAYERS = 1000


def _has_two_sources(flat: Any) -> bool:
    directions = flat.get("task.directions")
    if directions:
        return any("+" in name for name in directions)
    return len(flat.get("data.columns") or []) > 2


TWO_SOURCES = Condition(_has_two_sources, "task.directions", "a direction reads two sources")


@dataclass
class ModelConfig:
    """Shape and initial values of the Transformer; `plan.slots.ModelShape` says what decides parameters."""

    d_model: int = setting(128, ge=1)
    """Width of the residual stream."""
    n_heads: int = setting(4, ge=1)
    """Heads per attention."""
    n_kv_heads: Optional[int] = setting(None, ge=1)
    """Heads of keys and values; null for as many as n_heads."""
    d_head: Optional[int] = setting(None, ge=1)
    """Width of a head; null for d_model / n_heads."""
    d_ff: int = setting(512, ge=1)
    """Inner width of the feed-forward."""
    n_layers: int = setting(3, ge=1, le=MAX_LAYERS)
    """Layers of the decoder, and of the encoder unless n_encoder_layers is set."""
    n_encoder_layers: Optional[int] = setting(None, TRANSLATION, ge=1)
    """Layers of each encoder; null for as many as n_layers."""
    encoders: Optional[str] = setting(None, TRANSLATION, choices=("one", "each"))
    """One encoder for all sources or one each; null is one, or each if a direction has several sources."""
    decoders: str = setting("one", when_given("task.directions"), choices=("one", "each"))
    """One decoder for all targets or one each."""
    source_attention: str = setting("one", TWO_SOURCES, choices=("one", "each"))
    """One cross-attention over all that the encoders of a direction read, or one per encoder. Source: Libovicky et al.
    2018, flat and serial combination."""
    vocab_size: int = setting(1000, ge=1, pieces=True)
    """Pieces requested of each vocabulary; a run records what it got."""
    max_len: int = setting(512, when("model.positions", "learned"), ge=1)
    """Rows of a learned table of positions."""
    norm: str = setting("layer", choices=("layer", "rms"))
    """Normalisation."""
    norm_position: str = setting("pre", choices=("pre", "post"))
    """Place of the norms: before or after each sub-layer."""
    positions: str = setting("rotary", choices=("learned", "sinusoidal", "rotary"))
    """Kind of positions."""
    activation: str = setting("gelu", choices=("relu", "gelu", "swiglu"))
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
    embed_scale: str = setting("sqrt_d", choices=("1", "sqrt_d"))
    """Factor on the embedding reading of a table; the output reading is never scaled."""
    table_init_std: Optional[float] = setting(0.02, ge=0, tunable=True)
    """Initial standard deviation of every table, tied or not; null is d_model ** -0.5."""

    def __post_init__(self) -> None:
        check_section(self, "model.")
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

    @property
    def embed_factor(self) -> float:
        """What the embedding reading of a table is multiplied by."""
        return self.d_model**0.5 if self.embed_scale == "sqrt_d" else 1.0


@dataclass
class TyingConfig:
    """Labelled tying rules: label -> {rule: NAME, options of that rule}."""

    ties: dict[str, Any] = setting({}, open=True)
    """Label -> {rule: NAME, options of the rule}; `tietrain schemes` lists the rules."""

    def __post_init__(self) -> None:
        check_ties(self.ties)
