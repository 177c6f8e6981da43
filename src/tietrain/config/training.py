"""How a model is trained, and on what machine."""

from dataclasses import dataclass, field
from typing import Optional

from tietrain.config.setting import check, check_section, setting, when

DEFAULT_STEPS = 400
# Units of a training budget, each a key train.max_UNIT.
BUDGET_UNITS = ("steps", "tokens", "flops", "seconds")

ADAM = when("optim.name", "adamw", "adam")


@dataclass
class RoleFactors:
    """Factors on a setting of the optimizer by role; null is 1. A table that is embedding and output has the role tied alone."""

    source: Optional[float] = setting(None, gt=0, tunable=True, absent=None)
    """Of tables that encoders alone read."""
    input: Optional[float] = setting(None, gt=0, tunable=True, absent=None)
    """Of other tables that are read as embeddings alone."""
    output: Optional[float] = setting(None, gt=0, tunable=True, absent=None)
    """Of tables that are output projections alone."""
    tied: Optional[float] = setting(None, gt=0, tunable=True, absent=None)
    """Of tables that are embeddings and output projections."""
    positions: Optional[float] = setting(None, when("model.positions", "learned"), gt=0, tunable=True, absent=None)
    """Of learned positions."""
    matrices: Optional[float] = setting(None, gt=0, tunable=True, absent=None)
    """Of all other matrices."""
    vectors: Optional[float] = setting(None, gt=0, tunable=True, absent=None)
    """Of norms and biases."""


@dataclass
class OptimConfig:
    """Optimizer and schedule; warm-up and decay are fractions of the stated budget."""

    name: str = setting("adamw", choices=("adamw", "adam", "sgd"), tunable=True)
    """Optimizer."""
    lr: float = setting(2e-3, gt=0, tunable=True)
    """Peak learning rate."""
    lr_factor: RoleFactors = field(default_factory=RoleFactors)
    shared_gradient: str = setting("sum", choices=("sum", "mean", "root"), tunable=True, absent="sum")
    """What becomes of the gradients of a shared layer's n uses: their sum, sum / n, or sum / sqrt(n). Tables keep the sum; the
    view input_gradient scales one of their uses."""
    betas: list[float] = setting([0.9, 0.98], ADAM, ge=0, lt=1, tunable=True)
    """Decay of the two moments."""
    eps: float = setting(1e-8, ADAM, gt=0, tunable=True)
    """Added to the root of the second moment."""
    weight_decay: float = setting(0.01, ge=0, tunable=True)
    """Decay of matrices, never of vectors."""
    weight_decay_factor: RoleFactors = field(default_factory=RoleFactors)
    decay_tables: bool = setting(False, tunable=True, absent=True)
    """Whether weight decay is for token tables too. Rows without a gradient would shrink in untied embeddings alone."""
    momentum: float = setting(0.0, when("optim.name", "sgd"), ge=0, le=1, tunable=True)
    """Momentum."""
    schedule: str = setting("wsd", choices=("inverse_sqrt", "cosine", "wsd", "constant"), tunable=True)
    """Learning rate over the budget; wsd: warm-up, stable, linear decay; constant: after warm-up."""
    warmup: float = setting(0.1, ge=0, le=1, tunable=True, budget=True)
    """Share of the budget spent warming up."""
    decay: float = setting(0.4, when("optim.schedule", "wsd"), ge=0, le=1, tunable=True, budget=True)
    """Share of the budget that wsd spends decaying."""
    min_lr_ratio: float = setting(0.0, when("optim.schedule", "wsd", "cosine"), ge=0, le=1, tunable=True)
    """Final rate, as a share of the peak."""
    clip_norm: Optional[float] = setting(1.0, gt=0, tunable=True)
    """Largest norm of a gradient; null does not clip."""

    def __post_init__(self) -> None:
        check_section(self, "optim.")
        check_section(self.lr_factor, "optim.lr_factor.")
        check_section(self.weight_decay_factor, "optim.weight_decay_factor.")
        for role, factor in vars(self.weight_decay_factor).items():
            requested = f"optim.weight_decay_factor.{role}={factor}"
            problem = "weight decay is never for vectors" if role == "vectors" else "optim.decay_tables=false"
            decays = role in ("matrices", "positions") or (self.decay_tables and role != "vectors")
            check(
                factor is None or decays, requested, problem, "leave it out, or set optim.decay_tables=true for tables"
            )
        problem = f"optim.name={self.name} has no such setting"
        remedy = "choose optim=sgd, or set the first of optim.betas"
        check(self.momentum == 0 or self.name == "sgd", f"optim.momentum={self.momentum}", problem, remedy)
        remedy = "give for example [0.9,0.98]"
        check(len(self.betas) == 2, f"optim.betas={self.betas}", "they are not two numbers", remedy)
        requested = f"optim.warmup={self.warmup}"
        problem = f"with optim.decay={self.decay} it exceeds the whole budget"
        check(self.schedule != "wsd" or self.warmup + self.decay <= 1, requested, problem, "make their sum at most 1")
        problem = "optim.schedule=inverse_sqrt is measured in warm-ups"
        check(self.schedule != "inverse_sqrt" or self.warmup > 0, requested, problem, "give a positive optim.warmup")


@dataclass
class TrainConfig:
    """How long and in which steps.

    Training ends with the first of the budgets spent, and schedules follow the fraction spent. Without a budget a run takes
    DEFAULT_STEPS steps.
    """

    max_steps: Optional[int] = setting(None, ge=1, budget=True)
    """Budget in steps."""
    max_tokens: Optional[float] = setting(None, ge=1, budget=True)
    """Budget in target tokens."""
    max_flops: Optional[float] = setting(None, ge=1, budget=True)
    """Budget in FLOPs of the ledger, forward and backward, over real lengths."""
    max_seconds: Optional[float] = setting(None, gt=0, budget=True)
    """Budget in seconds of training."""
    batch_tokens: int = setting(1024, ge=1, at_eval=True)
    """Target tokens of one step; of translation, in the reference vocabulary."""
    batch_by: str = setting("auto", choices=("auto", "tokens", "chars"))
    """Unit of windows and lengths: tokens, or characters (four as one token), so that arms of any vocabulary have the
    same text in the same batches. auto is chars in each cell of a grid that sweeps the pieces, else tokens."""
    eval_every: Optional[int] = setting(None, ge=1)
    """Steps between two evaluations on valid; null evaluates ten times."""
    eval_sentences: Optional[int] = setting(500, ge=1)
    """Lines of valid that are used while training; null for all. Final scores use all."""
    checkpoint_every: int = setting(100, ge=1, identity=False)
    """Steps between two checkpoints."""
    log_every: int = setting(10, ge=1, identity=False)
    """Steps between two rows of metrics.jsonl."""
    probe_every: Optional[int] = setting(None, ge=1, identity=False, absent=None)
    """Steps between two looks at the gradients of shared parameters, each use apart; null for none. A look takes one more
    forward and backward pass."""
    keep_tables: bool = setting(False, identity=False, absent=False)
    """Whether the token tables are kept at the start and at each fifth of the budget, for `tietrain similarity`."""
    average: str = setting("none", choices=("none", "last", "best"), tunable=True)
    """Weights that are scored: those of the best evaluation, or the mean of those of the last or best n_averaged. Best
    is lowest nats per token on valid."""
    n_averaged: int = setting(5, when("train.average", "last", "best"), ge=1)
    """Evaluations whose weights are averaged."""
    ema: Optional[float] = setting(None, gt=0, lt=1, tunable=True)
    """Decay of an exponential moving average of the weights, which is what is evaluated and scored; null for none."""
    trackers: list[str] = setting([], identity=False, choices=("wandb", "trackio"))
    """Loggers that receive the metrics besides TensorBoard."""
    slow_step_seconds: float = setting(0.0, ge=0, le=10, identity=False)
    """Sleep after each step, for tests."""

    def __post_init__(self) -> None:
        check_section(self, "train.")

    @property
    def budgets(self) -> dict[str, float]:
        """Unit -> limit for each stated budget."""
        stated = {unit: getattr(self, f"max_{unit}") for unit in BUDGET_UNITS}
        return {unit: limit for unit, limit in stated.items() if limit is not None} or {"steps": DEFAULT_STEPS}


@dataclass
class HardwareConfig:
    """The device and its speed; results differ by rounding at most."""

    device: str = setting("auto", choices=("auto", "cpu", "cuda"), at_eval=True)
    """Device; cuda:3 is cuda with hardware.gpu=3."""
    gpu: Optional[int] = setting(None, when("hardware.device", "auto", "cuda"), ge=0, identity=False, absent=None)
    """Which of the GPUs that the process sees; null takes the first that no other run holds."""
    runs_per_gpu: int = setting(1, when("hardware.device", "auto", "cuda"), ge=1, identity=False, absent=1)
    """How many runs may share one GPU; give all runs of a host the same number. Small models leave most of a GPU idle."""
    precision: str = setting("auto", choices=("auto", "fp32", "tf32", "bf16"), at_eval=True)
    """Numbers of a step; tf32: float32 with the products of a GPU in TF32; auto is bf16 if the device computes it fast, and
    what it became in a study stays."""
    compile: bool = setting(False, identity=False, at_eval=True)
    """Whether model and loss are compiled, as one graph, and each step of a search or of sampling."""
    device_batch_tokens: Optional[int] = setting(None, ge=1, identity=False, at_eval=True)
    """Padded tokens that the device takes at once; a step is cut into micro-batches. null takes whole steps."""
    threads: Optional[int] = setting(None, ge=1, le=512, identity=False, at_eval=True)
    """Threads of the process; null leaves torch's default."""
    max_wait: float = setting(600.0, gt=0, identity=False, absent=600.0)
    """Seconds that processes of one run wait for one another before the run stops."""
    shard: bool = setting(False, identity=False, absent=False)
    """Whether each process of a run holds a slice of parameters, gradients and optimizer state in the place of all."""
    peak_flops: Optional[float] = setting(None, ge=1, identity=False, at_eval=True)
    """FLOPs per second that the device reaches at best."""
    peak_flops_source: str = setting("", identity=False, at_eval=True)
    """Source of peak_flops."""

    def __post_init__(self) -> None:
        kind, _, index = self.device.partition(":")
        if kind == "cuda" and index.isdecimal():
            self.device = kind
            self.gpu = int(index)
        check_section(self, "hardware.")
        problem = "with hardware.shard=true a model is not compiled"
        check(not (self.shard and self.compile), "hardware.compile=true", problem, "leave out one of them")
