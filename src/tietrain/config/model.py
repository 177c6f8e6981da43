"""The shape of the model, and what it shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from tietrain.config.checks import check, check_choice, check_range
from tietrain.plan.schemes import check_ties

# OmegaConf reads these annotations: Optional[...] is spelled out because it accepts no `X | None` of nested types.
# ruff: noqa: UP045

MAX_LAYERS = 1000


@dataclass
class ModelConfig:
    """Shape and initial values of the Transformer; see `tying.slots.ModelShape` for what decides parameters.

    n_layers: layers of the decoder, and of the encoder unless n_encoder_layers says otherwise.
    encoders, decoders: one for all sources (targets), or each its own; encoders None: one, or each where a direction has
        several sources. source_attention: one cross-attention over all that a direction's encoders read, or each encoder
        its own. Source: Libovicky et al. 2018, flat and serial combination.
    n_kv_heads: None for as many as n_heads; d_head: None for d_model / n_heads.
    vocab_size: pieces asked of each vocabulary; a run records what it got.
    max_len: rows of a learned position table.
    embed_scale: factor on the embedding reading of a table, 1 or sqrt_d; the output reading is never scaled.
    table_init_std: of every table, tied or not; None is d_model ** -0.5.
    """

    d_model: int = 128
    n_heads: int = 4
    n_kv_heads: Optional[int] = None
    d_head: Optional[int] = None
    d_ff: int = 512
    n_layers: int = 3
    n_encoder_layers: Optional[int] = None
    encoders: Optional[str] = None
    decoders: str = "one"
    source_attention: str = "one"
    vocab_size: int = 1000
    max_len: int = 512
    norm: str = "layer"
    norm_position: str = "pre"
    positions: str = "rotary"
    activation: str = "gelu"
    attn_bias: bool = False
    ffn_bias: bool = False
    norm_bias: bool = False
    output_bias: bool = False
    dropout: float = 0.1
    embed_scale: str = "sqrt_d"
    table_init_std: Optional[float] = 0.02

    def __post_init__(self) -> None:
        for key in ("d_model", "n_heads", "d_ff", "vocab_size", "max_len"):
            check_range(f"model.{key}", getattr(self, key), 1)
        check_range("model.n_layers", self.n_layers, 1, MAX_LAYERS)
        for key in ("n_kv_heads", "d_head", "n_encoder_layers"):
            check_range(f"model.{key}", getattr(self, key), 1, optional=True)
        for key in ("encoders", "decoders", "source_attention"):
            if (choice := getattr(self, key)) is not None:
                check_choice(f"model.{key}", choice, ("one", "each"))
        check_choice("model.norm", self.norm, ("layer", "rms"))
        check_choice("model.norm_position", self.norm_position, ("pre", "post"))
        check_choice("model.positions", self.positions, ("learned", "sinusoidal", "rotary"))
        check_choice("model.activation", self.activation, ("relu", "gelu", "swiglu"))
        check_choice("model.embed_scale", self.embed_scale, ("1", "sqrt_d"))
        check_range("model.dropout", self.dropout, 0, 0.99)
        check_range("model.table_init_std", self.table_init_std, 0, optional=True)
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

    ties: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_ties(self.ties)
