"""The whole configuration as typed dataclasses, with the checks that need no data and no torch.

The YAML files of `conf/` hold values; the types, the checks and the meaning of every key are here.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from tietrain.directions import Direction, parse_direction
from tietrain.errors import SettingsError
from tietrain.metrics import METRICS, TOKENIZERS
from tietrain.tying.schemes import check_ties, needs_joint_vocabulary, tying_label

# OmegaConf reads these annotations: Optional[...] is spelled out because it accepts no `X | None` of nested types.
# ruff: noqa: UP045

TASKS = ("lm", "mlm", "mt")
# Where text can come from; those of OWN_SPLITS read no data.splits.
FORMATS = ("grammar", "text", "tsv", "jsonl", "parquet", "hub", "stdlib_docs")
OWN_SPLITS = ("grammar", "stdlib_docs")
DEFAULT_STEPS = 400
# What decides the pieces of a vocabulary, besides the text it is learned from.
VOCABULARY_KEYS = ("model.vocab_size", "data.kind", "data.byte_fallback")
# Scores a comparison can rest on besides those of task.metrics.
NATS_SCORES = ("bits_per_byte", "ppl_word", "ppl_token", "excess_nats")
MAX_LAYERS = 1000
# What arms can be matched by -> what can be varied for it.
MATCHED = {
    "params": ("d_ff", "d_model", "n_layers"),
    "flops": ("d_ff", "d_model", "n_layers", "steps"),
    "depth": ("n_layers",),
    "seconds": ("steps",),
}
# What the points of a tuning list may set besides optim.*: nothing that makes another arm, nothing a match depends on.
TUNABLE = ("model.dropout", "model.table_init_std", "task.label_smoothing", "train.ema", "train.average")


def _check(holds: bool, asked: str, is_so: str, to_do: str) -> None:
    if not holds:
        raise SettingsError(asked, is_so, to_do)


def _check_choice(key: str, value: object, choices: tuple[str, ...]) -> None:
    _check(value in choices, f"{key}={value}", "there is no such choice", f"choose from {', '.join(choices)}")


def _check_range(key: str, value: Any, low: float, high: float = math.inf, *, optional: bool = False) -> None:
    if value is None and optional:
        return
    bound = f"at least {low}" if high == math.inf else f"from {low} to {high}"
    _check(
        math.isfinite(value) and low <= value <= high,
        f"{key}={value}",
        "the value is out of range",
        f"give a number {bound}",
    )


@dataclass
class TaskConfig:
    """What is learned: a language model (`lm`), a masked one (`mlm`) or translation (`mt`).

    window: tokens a training window of a language model; with train.batch_by=chars four times as many characters.
    eval_stride: tokens scored per window; the rest of a window is context. None scores whole windows. Of lm alone.
    mask_rate: share of the tokens of a window that a masked language model is asked for.
    directions: which columns are read and which is written, `en-de`, or `src+mt-pe` where two are read together; None
        reads all columns but the last. zero_shot: directions that are scored and never trained.
    temperature: a direction of n training pairs is drawn as often as n ** (1 / temperature) says; 1 as often as it has
        pairs. Source: Arivazhagan et al. 2019.
    train_pairs: direction -> most pairs of it to train on, to make it one of few resources. disjoint: whether every row
        of train is a pair of one direction alone, drawn by its number, so that zero_shot directions have no pivot.
    max_len: translation pairs with more pieces than this on a side are left out of train and counted; with
        train.batch_by=chars those with more than four times as many characters.
    label_smoothing: mass spread over the vocabulary in the training objective, never in a score.
    beam, length_penalty: of the translations that are scored; beam 1 is greedy. A score is divided by
        ((5 + tokens) / 6) ** length_penalty (Wu et al. 2016, equation 14); fields use 0 to 1.
    max_output_ratio, max_output_extra: a translation has at most ratio x source pieces + extra tokens, end mark included.
    metrics: scores of the translations, of `metrics.METRICS`. bleu_tokenize: how BLEU cuts text: 13a for plain text,
        none for text that is tokenised already, char for Japanese; no other score depends on it.
    """

    name: str = "lm"
    window: int = 128
    eval_stride: Optional[int] = None
    mask_rate: float = 0.15
    directions: Optional[list[str]] = None
    zero_shot: list[str] = field(default_factory=list)
    temperature: float = 1.0
    train_pairs: dict[str, int] = field(default_factory=dict)
    disjoint: bool = False
    max_len: int = 256
    label_smoothing: float = 0.0
    beam: int = 1
    length_penalty: float = 0.0
    max_output_ratio: float = 2.0
    max_output_extra: int = 20
    metrics: list[str] = field(default_factory=lambda: ["bleu", "chrf"])
    bleu_tokenize: str = "13a"

    def __post_init__(self) -> None:
        _check_choice("task.name", self.name, TASKS)
        _check_range("task.window", self.window, 2)
        _check_range("task.eval_stride", self.eval_stride, 1, self.window, optional=True)
        _check_range("task.mask_rate", self.mask_rate, 0.01, 1)
        _check(self.temperature > 0, f"task.temperature={self.temperature}", "it is not positive", "give 1 or more")
        for name, n in self.train_pairs.items():
            _check_range(f"task.train_pairs.{name}", n, 1)
        _check_range("task.max_len", self.max_len, 2)
        _check_range("task.label_smoothing", self.label_smoothing, 0, 0.999)
        _check_range("task.beam", self.beam, 1)
        _check_range("task.length_penalty", self.length_penalty, 0)
        _check_range("task.max_output_ratio", self.max_output_ratio, 0)
        _check_range("task.max_output_extra", self.max_output_extra, 1)
        for name in self.metrics or [""]:
            _check(
                name in METRICS and self.metrics.count(name) == 1,
                f"task.metrics=[{','.join(self.metrics)}]",
                f"{name} stands there twice" if name in METRICS else f"there is no metric {name!r}",
                f"choose one or more from {', '.join(METRICS)}",
            )
        _check_choice("task.bleu_tokenize", self.bleu_tokenize, TOKENIZERS)


@dataclass
class DataConfig:
    """Where text comes from and how it is cut into pieces.

    format: grammar (generated by tietrain), text, tsv, jsonl, parquet, hub (a dataset of the Hugging Face hub, or a folder
        `datasets` reads) or stdlib_docs (docstrings of the running Python).
    preset, seed, language_seed, difficulty, alphabet_b: of the generated corpus.
    dataset, subset, revision: of hub: a folder or OWNER/NAME; which configuration of it; branch, tag or commit.
    root: folder the paths of `splits`, and a folder in `dataset`, are relative to; None is the working directory.
    splits: split -> files, one a column for text, one in all for tsv and jsonl, one or more for parquet; for hub the
        dataset's own splits, `train` or `train[:90%]`. grammar and stdlib_docs have their own.
    columns: names of the columns: keys of jsonl, header names of tsv, columns of parquet and hub (`translation.en`
        is a field of one), labels for text and stdlib_docs. Of grammar: languages `a` to `d`; `a_mt` to `d_mt`, their
        sentences with the faults of a machine translation; `features`, 32 wide.
    features: columns that hold a sequence of feature vectors a row instead of a text -> width of a vector.
    vocabulary: auto is joint where a tying rule needs it, else separate.
    kind: unigram, bpe, word or char; byte_fallback spells unknown characters as bytes.
    cache: folder of vocabularies and encoded corpora, found again by content.
    """

    format: str = "grammar"
    preset: str = "small"
    seed: int = 0
    language_seed: int = 0
    difficulty: int = 4
    alphabet_b: str = "latin"
    dataset: Optional[str] = None
    subset: Optional[str] = None
    revision: Optional[str] = None
    root: Optional[str] = None
    splits: dict[str, list[str]] = field(default_factory=dict)
    columns: Optional[list[str]] = None
    features: dict[str, int] = field(default_factory=dict)
    vocabulary: str = "auto"
    kind: str = "unigram"
    byte_fallback: bool = False
    cache: str = "outputs/.cache"

    def __post_init__(self) -> None:
        _check_choice("data.format", self.format, FORMATS)
        _check_choice("data.preset", self.preset, ("tiny", "small", "full"))
        _check_choice("data.alphabet_b", self.alphabet_b, ("latin", "other"))
        _check_choice("data.vocabulary", self.vocabulary, ("auto", "joint", "separate"))
        _check_choice("data.kind", self.kind, ("unigram", "bpe", "word", "char"))
        _check_range("data.difficulty", self.difficulty, 1, 12)
        for name, width in self.features.items():
            _check_range(f"data.features.{name}", width, 1)
        for key in ("dataset", "subset", "revision"):
            value = getattr(self, key)
            is_so = f"data.format={self.format} does not read it"
            _check(
                value is None or self.format == "hub", f"data.{key}={value}", is_so, "choose data=hub, or leave it out"
            )
        if self.format in OWN_SPLITS:
            is_so = f"data.format={self.format} makes its own splits"
            to_do = "choose data=text, tsv, jsonl or parquet to read files"
            _check(not self.splits, f"data.splits={self.splits}", is_so, to_do)
        else:
            for split in ("train", "valid"):
                _check(
                    split in self.splits,
                    f"data.splits={list(self.splits)}",
                    f"there is no {split} split",
                    f"name its file: data.splits.{split}=[FILE]",
                )


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
            _check_range(f"model.{key}", getattr(self, key), 1)
        _check_range("model.n_layers", self.n_layers, 1, MAX_LAYERS)
        for key in ("n_kv_heads", "d_head", "n_encoder_layers"):
            _check_range(f"model.{key}", getattr(self, key), 1, optional=True)
        for key in ("encoders", "decoders", "source_attention"):
            if (choice := getattr(self, key)) is not None:
                _check_choice(f"model.{key}", choice, ("one", "each"))
        _check_choice("model.norm", self.norm, ("layer", "rms"))
        _check_choice("model.norm_position", self.norm_position, ("pre", "post"))
        _check_choice("model.positions", self.positions, ("learned", "sinusoidal", "rotary"))
        _check_choice("model.activation", self.activation, ("relu", "gelu", "swiglu"))
        _check_choice("model.embed_scale", self.embed_scale, ("1", "sqrt_d"))
        _check_range("model.dropout", self.dropout, 0, 0.99)
        _check_range("model.table_init_std", self.table_init_std, 0, optional=True)
        _check(
            self.d_head is not None or self.d_model % self.n_heads == 0,
            f"model.n_heads={self.n_heads}",
            f"it does not divide model.d_model={self.d_model}",
            "choose a divisor or set model.d_head",
        )
        n_kv = self.n_kv_heads or self.n_heads
        _check(
            self.n_heads % n_kv == 0,
            f"model.n_kv_heads={n_kv}",
            f"it does not divide model.n_heads={self.n_heads}",
            "choose a divisor",
        )
        d_head = self.d_head or self.d_model // self.n_heads
        _check(
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


@dataclass
class OptimConfig:
    """Optimizer and schedule; warm-up and decay are fractions of the stated budget.

    schedule: inverse_sqrt, cosine, wsd (warm-up, stable, linear decay) or constant (after warm-up).
    decay: share of the budget that wsd spends decaying; min_lr_ratio: where cosine and wsd end.
    clip_norm: None for no clipping.
    """

    name: str = "adamw"
    lr: float = 2e-3
    betas: list[float] = field(default_factory=lambda: [0.9, 0.98])
    eps: float = 1e-8
    weight_decay: float = 0.01
    momentum: float = 0.0
    schedule: str = "wsd"
    warmup: float = 0.1
    decay: float = 0.4
    min_lr_ratio: float = 0.0
    clip_norm: Optional[float] = 1.0

    def __post_init__(self) -> None:
        _check_choice("optim.name", self.name, ("adamw", "adam", "sgd"))
        _check_choice("optim.schedule", self.schedule, ("inverse_sqrt", "cosine", "wsd", "constant"))
        _check(
            self.lr > 0 and math.isfinite(self.lr),
            f"optim.lr={self.lr}",
            "the rate is not a positive number",
            "give one, for example 2e-3",
        )
        for key in ("warmup", "decay", "min_lr_ratio", "momentum"):
            _check_range(f"optim.{key}", getattr(self, key), 0, 1)
        _check_range("optim.weight_decay", self.weight_decay, 0)
        _check(
            self.momentum == 0 or self.name == "sgd",
            f"optim.momentum={self.momentum}",
            f"optim.name={self.name} has no such setting",
            "choose optim=sgd, or set the first of optim.betas",
        )
        _check(self.eps > 0, f"optim.eps={self.eps}", "it is not positive", "give a small positive number")
        _check(
            len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas),
            f"optim.betas={self.betas}",
            "they are not two numbers from 0 to below 1",
            "give for example [0.9,0.98]",
        )
        _check(
            self.schedule != "wsd" or self.warmup + self.decay <= 1,
            f"optim.warmup={self.warmup}",
            f"with optim.decay={self.decay} it exceeds the whole budget",
            "make their sum at most 1",
        )
        _check(
            self.schedule != "inverse_sqrt" or self.warmup > 0,
            f"optim.warmup={self.warmup}",
            "optim.schedule=inverse_sqrt is measured in warm-ups",
            "give a positive optim.warmup",
        )
        _check(
            self.clip_norm is None or self.clip_norm > 0,
            f"optim.clip_norm={self.clip_norm}",
            "it is not positive",
            "give a norm or null",
        )


@dataclass
class TrainConfig:
    """How long and in which steps.

    max_steps, max_tokens, max_flops, max_seconds: budgets; training ends with the first one spent, and schedules
        follow the fraction spent. With none stated a run takes 400 steps. Tokens are target tokens; FLOPs are
        those of the ledger, forward and backward, over real lengths.
    batch_tokens: target tokens of one step, in the reference vocabulary for translation (see `data.batching`).
    batch_by: tokens, or chars: windows and lengths are counted in characters of the text, four as one token, so that
        arms of any vocabulary have the same text in the same batches. auto is chars in every cell of a grid that sweeps
        one of VOCABULARY_KEYS, else tokens; `compose.to_run_config` decides, so that a run is known by what it became.
    eval_every, checkpoint_every, log_every: in steps; None evaluates ten times a run.
    eval_sentences: lines of `valid` used while training; None for all. Final scores always use all.
    average, n_averaged: which weights are scored: none, those of the best evaluation; last or best, the mean of those of
        the last or best n_averaged evaluations (of all, where there were fewer). Best is lowest nats_per_token on valid.
    ema: decay of an exponential moving average of the weights, or None. It is what every evaluation sees, what is best,
        averaged and scored; training goes on from the weights themselves. See `train.averaging`.
    slow_step_seconds: sleep after every step, for tests.
    """

    max_steps: Optional[int] = None
    max_tokens: Optional[float] = None
    max_flops: Optional[float] = None
    max_seconds: Optional[float] = None
    batch_tokens: int = 1024
    batch_by: str = "auto"
    eval_every: Optional[int] = None
    eval_sentences: Optional[int] = 500
    checkpoint_every: int = 100
    log_every: int = 10
    average: str = "none"
    n_averaged: int = 5
    ema: Optional[float] = None
    slow_step_seconds: float = 0.0

    def __post_init__(self) -> None:
        for key in ("max_steps", "max_tokens", "max_flops", "eval_every", "eval_sentences"):
            _check_range(f"train.{key}", getattr(self, key), 1, optional=True)
        _check(
            self.max_seconds is None or self.max_seconds > 0,
            f"train.max_seconds={self.max_seconds}",
            "it is not positive",
            "give seconds",
        )
        _check_choice("train.batch_by", self.batch_by, ("auto", "tokens", "chars"))
        _check_choice("train.average", self.average, ("none", "last", "best"))
        for key in ("batch_tokens", "checkpoint_every", "log_every", "n_averaged"):
            _check_range(f"train.{key}", getattr(self, key), 1)
        _check(
            self.ema is None or 0 < self.ema < 1,
            f"train.ema={self.ema}",
            "a decay lies between 0 and 1",
            "give for example 0.999, or null",
        )
        _check_range("train.slow_step_seconds", self.slow_step_seconds, 0)

    @property
    def budgets(self) -> dict[str, float]:
        """Unit -> limit for every stated budget: steps, tokens, flops, seconds."""
        stated = {u: getattr(self, f"max_{u}") for u in ("steps", "tokens", "flops", "seconds")}
        return {u: v for u, v in stated.items() if v is not None} or {"steps": DEFAULT_STEPS}


@dataclass
class HardwareConfig:
    """Where and how fast; never what is computed, up to rounding.

    Of these only device and precision are part of a run's identity: with the others changed it goes on where it stood.

    device: auto, cpu or cuda. precision: auto (bf16 where the device computes it fast), fp32 or bf16.
    device_batch_tokens: padded tokens the device takes at once; a step is cut into micro-batches. None: whole steps.
    threads: of one process; None leaves the default. peak_flops: of the device, per second, with its source.
    """

    device: str = "auto"
    precision: str = "auto"
    compile: bool = False
    device_batch_tokens: Optional[int] = None
    threads: Optional[int] = None
    peak_flops: Optional[float] = None
    peak_flops_source: str = ""

    def __post_init__(self) -> None:
        _check_choice("hardware.device", self.device, ("auto", "cpu", "cuda"))
        _check_choice("hardware.precision", self.precision, ("auto", "fp32", "bf16"))
        for key in ("device_batch_tokens", "threads", "peak_flops"):
            _check_range(f"hardware.{key}", getattr(self, key), 1, optional=True)


@dataclass
class ReportConfig:
    """What a study is to show, stated before its runs and recorded with them; no part of a run's identity.

    metric: the primary score, of NATS_SCORES or task.metrics; None is the first of task.metrics, bits_per_byte of lm.
    split: where it is measured; None is test, or the first split besides train and valid; of several directions its mean.
    baseline: label of the tying that every other arm is compared with.
    margin: a difference of the primary score that would not matter, in its unit; None for no test of equivalence.
    """

    metric: Optional[str] = None
    split: Optional[str] = None
    baseline: str = "none"
    margin: Optional[float] = None

    def __post_init__(self) -> None:
        _check(
            self.margin is None or 0 < self.margin < math.inf,
            f"report.margin={self.margin}",
            "it is not positive",
            "give the largest difference that does not matter, or null",
        )
        is_so = "it has the unit of the primary score, which is another for each task"
        _check(
            self.margin is None or self.metric is not None, f"report.margin={self.margin}", is_so, "set report.metric"
        )


@dataclass
class MatchConfig:
    """What every arm is to have as much of as a baseline has; solved before a run is named, see `match`.

    by: params (stored), flops (training, of the whole run), depth (layers run, shared or not), seconds (of training);
        None matches nothing.
    vary: what is solved for: d_ff, d_model, n_layers (n_encoder_layers stays, where it is set), or steps: the stated budget.
    baseline: what follows `tying=`, of the configured shape; after it what else differs there: `cycle model.n_layers=6`.
    multiple_of: of the solved value; None is 8 for d_ff and d_model, 1 for others.
    solved: the baseline's ties and model settings, what was varied and what was matched; written by tietrain.
    """

    by: Optional[str] = None
    vary: str = "d_ff"
    baseline: str = "none"
    multiple_of: Optional[int] = None
    solved: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_choice("match.vary", self.vary, MATCHED["flops"])
        _check_range("match.multiple_of", self.multiple_of, 1, optional=True)
        if self.by is not None:
            _check_choice("match.by", self.by, tuple(MATCHED))
            varied = MATCHED[self.by]
            is_so = f"match.by={self.by} is not reached by it"
            _check(self.vary in varied, f"match.vary={self.vary}", is_so, f"choose {' or '.join(varied)}")


@dataclass
class TuneConfig:
    """A tuning budget, the same for every arm: a fixed list of points, tried before the runs that are reported, see `tune`.

    name: of the list; None tunes nothing. points: full key -> value of each, of optim.* and TUNABLE.
    seeds: of the runs by which a point is chosen, lowest mean nats a token on valid. reporting_seeds: of the runs that are
        compared, at the chosen point.
    role, point: of one run: tuning or reporting, and its place in the list, from 1; written by tietrain.
    """

    name: Optional[str] = None
    points: list[dict[str, Any]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    reporting_seeds: list[int] = field(default_factory=list)
    role: Optional[str] = None
    point: Optional[int] = None

    def __post_init__(self) -> None:
        if self.name is None:
            stated = [key for key in ("points", "seeds", "reporting_seeds") if getattr(self, key)]
            _check(not stated, f"tune.{''.join(stated[:1])}", "no list is chosen", "choose one: tune=NAME")
            return
        _check(bool(self.points), f"tune={self.name}", "tune.points is empty", "list what is to be tried")
        for i, point in enumerate(self.points, start=1):
            asked = f"tune={self.name}, point {i}"
            _check(bool(point), asked, "it sets nothing", "give a mapping of full keys to values")
            _check(self.points.index(point) == i - 1, asked, "it stands there twice", "leave it out")
            for key in point:
                to_do = f"tune keys of optim, or {', '.join(TUNABLE)}"
                _check(key.startswith("optim.") or key in TUNABLE, asked, f"{key} is nothing a list may tune", to_do)
        for key in ("seeds", "reporting_seeds"):
            seeds = getattr(self, key)
            holds = bool(seeds) and min(seeds) >= 0 and len(set(seeds)) == len(seeds)
            _check(holds, f"tune.{key}={seeds}", "they are no list of different seeds", "give for example [1,2,3]")
        both = sorted(set(self.seeds) & set(self.reporting_seeds))
        is_so = f"{both} chose the point too, and the chosen one is the luckiest"
        _check(not both, f"tune.reporting_seeds={self.reporting_seeds}", is_so, "report fresh seeds")

    @property
    def trials(self) -> str:
        """How many runs an arm takes; empty where nothing is tuned.

        >>> TuneConfig("rates", [{"optim.lr": 0.1}, {"optim.lr": 0.2}], [9], [1, 2, 3]).trials
        '2 trials x 1 seed, then 3 seeds'
        """
        if self.name is None:
            return ""
        counted = (("trial", self.points), ("seed", self.seeds), ("seed", self.reporting_seeds))
        trials, seeds, reported = (f"{len(of)} {noun}{'' if len(of) == 1 else 's'}" for noun, of in counted)
        return f"{trials} x {seeds}, then {reported}"


@dataclass
class RunConfig:
    """One experiment.

    study: folder of `outputs/` a run belongs to. run_dir: exactly this folder instead.
    seed: of initial values, dropout and data order; the corpus has data.seed.
    init_from: run directory whose final weights are the start; the parent is recorded.
    retry_failed: run again what failed in a way that would fail again. same_code: run again what was finished with another
        version of tietrain or torch, device, precision or number of threads; its files are replaced.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    tying: TyingConfig = field(default_factory=TyingConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    match: MatchConfig = field(default_factory=MatchConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    study: str = "default"
    run_dir: Optional[str] = None
    seed: int = 1
    init_from: Optional[str] = None
    retry_failed: bool = False
    same_code: bool = False

    def __post_init__(self) -> None:
        _check_range("seed", self.seed, 0)
        _check(
            bool(self.study) and "/" not in self.study and not self.study.startswith("."),
            f"study={self.study}",
            "a study is one folder name under outputs/",
            "use letters, digits, '-', '_' (run_dir=PATH writes anywhere)",
        )
        longest = self.task.max_len + 1 if self.task.name == "mt" else self.task.window
        _check(
            self.model.positions != "learned" or self.model.max_len >= longest,
            f"model.max_len={self.model.max_len}",
            f"the table of learned positions is shorter than a training sequence of {longest}",
            "raise it, or lower task.window (lm, mlm) or task.max_len (mt)",
        )
        _check(
            self.task.name == "mt" or self.data.vocabulary != "joint",
            "data.vocabulary=joint",
            "a language model has one language",
            "leave data.vocabulary=auto",
        )
        self._check_directions()
        if self.report.metric is not None:
            scores = (*NATS_SCORES, *(self.task.metrics if self.task.name == "mt" else ()))
            _check_choice("report.metric", self.report.metric, scores)

    def _check_directions(self) -> None:
        task, both = self.task, [d.name for d in (*self.directions, *self.zero_shot)]
        for key in ("directions", "zero_shot", "train_pairs"):
            is_so = f"task={task.name} has no directions"
            _check(task.name == "mt" or not getattr(task, key), f"task.{key}", is_so, "choose task=mt")
        twice = [name for name in both if both.count(name) > 1]
        _check(not twice, f"task.directions={both}", f"{' and '.join(twice[:1])} stands there twice", "name each once")
        trained = [d.name for d in self.directions]
        for name in task.train_pairs:
            is_so = f"it is no trained direction, those are {', '.join(trained)}"
            _check(name in trained, f"task.train_pairs.{name}", is_so, "name one of them")
        for direction in (*self.directions, *self.zero_shot):
            asked, is_so = f"task.directions=[{direction.name}]", f"{direction.target} holds feature vectors"
            _check(direction.target not in self.data.features, asked, is_so, "write a column of text")
            is_so = f"{direction.target} holds generated faults and is only ever read"
            faulty = self.data.format == "grammar" and direction.target.endswith("_mt")
            _check(not faulty, asked, is_so, "write a language")
        sources = {source for d in self.directions for source in d.sources}
        targets = {d.target for d in self.directions}
        for direction in self.zero_shot:
            unseen = [f"{s} is never read" for s in direction.sources if s not in sources]
            unseen += [f"{direction.target} is never written"] if direction.target not in targets else []
            to_do = "train a direction that does"
            _check(not unseen, f"task.zero_shot=[{direction.name}]", f"{', '.join(unseen)} in training", to_do)
        for name in self.data.features:
            is_so = "no direction reads it"
            _check(name in sources, f"data.features.{name}", is_so, "name it in data.columns and task.directions")
        two = all(len(d.sources) == 2 for d in (*self.directions, *self.zero_shot)) and len(sources) == 2
        is_so = f"{', '.join(both)} do not all read the same two sources"
        to_do = "leave it one, or name two source columns"
        _check(self.model.source_attention == "one" or two, "model.source_attention=each", is_so, to_do)

    @property
    def columns(self) -> list[str]:
        """Names of the corpus's columns that are read."""
        if self.task.name != "mt":
            return (self.data.format != "grammar" and self.data.columns) or ["text"]
        return self.data.columns or (["a", "b"] if self.data.format == "grammar" else ["source", "target"])

    @property
    def directions(self) -> tuple[Direction, ...]:
        """What is trained; a language model writes its column and reads no other."""
        columns = self.columns
        if self.task.name != "mt" or not self.task.directions:
            return (Direction(tuple(columns[:-1]), columns[-1]),)
        return tuple(parse_direction("task.directions", text, columns) for text in self.task.directions)

    @property
    def zero_shot(self) -> tuple[Direction, ...]:
        """What is scored without having been trained."""
        return tuple(parse_direction("task.zero_shot", text, self.columns) for text in self.task.zero_shot)

    @property
    def joint_vocabulary(self) -> bool:
        """Whether both languages read one vocabulary."""
        if self.data.vocabulary == "auto":
            return self.task.name == "mt" and needs_joint_vocabulary(self.tying.ties)
        return self.data.vocabulary == "joint"

    @property
    def declared(self) -> dict[str, Any]:
        """Primary metric, split, baseline and margin, each with what None stands for."""
        tests = [split for split in self.data.splits if split not in ("train", "valid")]
        split = "test" if self.data.format in OWN_SPLITS or "test" in tests else (tests or ["valid"])[0]
        if len(self.directions) + len(self.zero_shot) > 1:
            split += ".mean"
        metric = {"lm": "bits_per_byte", "mlm": "ppl_token", "mt": self.task.metrics[0]}[self.task.name]
        stated = self.report
        return asdict(stated) | {"metric": stated.metric or metric, "split": stated.split or split}

    @property
    def tying_label(self) -> str:
        return tying_label(self.tying.ties)

    @property
    def title(self) -> str:
        return f"{self.task.name}, tying={self.tying_label}"

    @property
    def typical_length(self) -> int:
        """Tokens a sequence at which FLOPs a token are quoted: a window, or a sentence of 25 pieces."""
        return 25 if self.task.name == "mt" else self.task.window
