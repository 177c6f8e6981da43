"""One experiment: all sections, and the checks that need several."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from tietrain.config.data import OWN_SPLITS, DataConfig
from tietrain.config.directions import Direction, parse_direction
from tietrain.config.model import InitTables, ModelConfig, TyingConfig
from tietrain.config.setting import check, check_section, setting, settings_of
from tietrain.config.study import MatchConfig, ReportConfig, TuneConfig
from tietrain.config.task import TaskConfig
from tietrain.config.training import HardwareConfig, OptimConfig, TrainConfig
from tietrain.errors import check_choice
from tietrain.plan.schemes import needs_joint_vocabulary, tying_label
from tietrain.plan.slots import check_length

# OmegaConf reads these annotations: Optional[...] is spelled out because it accepts no `X | None` of nested types.

# Scores a comparison can rest on besides those of task.metrics.
NATS_SCORES = ("bits_per_byte", "ppl_word", "ppl_token", "excess_nats")


@dataclass
class RunConfig:
    """One experiment."""

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
    study: str = setting("default", identity=False)
    """Folder of `outputs/` that the run belongs to."""
    run_dir: Optional[str] = setting(None, identity=False)
    """Exactly this folder instead."""
    swept: list[str] = setting([], identity=False, written=True, absent=[])
    """Of a cell of a grid, the words in which it differs from the others; the name of its folder shows them."""
    seed: int = setting(1, ge=0)
    """Seed of initial values, dropout and data order; the corpus has data.seed."""
    init_from: Optional[str] = setting(None)
    """Run directory whose final weights are the start; the run records its parent."""
    init_tables: InitTables = field(default_factory=InitTables)
    converted: Optional[str] = setting(None, written=True, absent=None)
    """What the weights were made from, by `tietrain convert` (tying and step of a run, how, and its arm) or `tietrain import`
    (class and a hash of the weights)."""
    retry_failed: bool = setting(False, identity=False)
    """Whether to run again what failed in a way that would fail again."""
    same_code: bool = setting(False, identity=False)
    """Whether to run again what was finished with another version of tietrain or torch, device, precision, hardware.shard
    or number of threads or processes; its files are replaced."""

    def __post_init__(self) -> None:
        check_section(self, "")
        self.model.settle_tables(self.task.name)
        check(
            bool(self.study) and "/" not in self.study and not self.study.startswith("."),
            f"study={self.study}",
            "a study is one folder name under outputs/",
            "use letters, digits, '-', '_' (run_dir=PATH writes anywhere)",
        )
        longest = self.task.max_len + 1 if self.task.name == "mt" else self.task.window
        key = "task.max_len" if self.task.name == "mt" else "task.window"
        check_length(self.model, longest, f"a training sequence (see {key})")
        check(
            self.task.name == "mt" or self.data.vocabulary != "joint",
            "data.vocabulary=joint",
            "a language model has one language",
            "leave data.vocabulary=auto",
        )
        can_look = self.train.probe_every is None or not self.hardware.shard
        problem = "with hardware.shard=true no process has the whole gradients that it looks at"
        check(can_look, f"train.probe_every={self.train.probe_every}", problem, "leave out one of them")
        self._check_directions()
        self._check_tuning()
        if self.report.metric is not None:
            scores = (*NATS_SCORES, *(self.task.metrics if self.task.name == "mt" else ()))
            check_choice("report.metric", self.report.metric, scores)

    def _check_directions(self) -> None:
        requested = f"data.columns=[{','.join(self.columns)}]"
        holds = self.task.name != "mt" or len(set(self.columns)) > 1
        check(holds, requested, "task=mt reads two or more different columns", "name the sources, then the target")
        task, both = self.task, [d.name for d in (*self.directions, *self.zero_shot)]
        for key in ("directions", "zero_shot", "train_pairs"):
            problem = f"task={task.name} has no directions"
            check(task.name == "mt" or not getattr(task, key), f"task.{key}", problem, "choose task=mt")
        twice = [name for name in both if both.count(name) > 1]
        check(not twice, f"task.directions={both}", f"{' and '.join(twice[:1])} is named twice", "name each once")
        trained = [d.name for d in self.directions]
        for name in task.train_pairs:
            problem = f"it is not a trained direction; those are {', '.join(trained)}"
            check(name in trained, f"task.train_pairs.{name}", problem, "name one of them")
        for direction in (*self.directions, *self.zero_shot):
            requested, problem = f"task.directions=[{direction.name}]", f"{direction.target} holds feature vectors"
            check(direction.target not in self.data.features, requested, problem, "write a column of text")
            problem = f"{direction.target} holds generated faults and is only ever read"
            faulty = self.data.format == "grammar" and direction.target.endswith("_mt")
            check(not faulty, requested, problem, "write a language")
        sources = {source for d in self.directions for source in d.sources}
        targets = {d.target for d in self.directions}
        for direction in self.zero_shot:
            unseen = [f"{s} is never read" for s in direction.sources if s not in sources]
            unseen += [f"{direction.target} is never written"] if direction.target not in targets else []
            remedy = "train a direction that does"
            check(not unseen, f"task.zero_shot=[{direction.name}]", f"{', '.join(unseen)} in training", remedy)
        for name in self.data.features:
            problem = "no direction reads it"
            check(name in sources, f"data.features.{name}", problem, "name it in data.columns and task.directions")
        two = all(len(d.sources) == 2 for d in (*self.directions, *self.zero_shot)) and len(sources) == 2
        problem = f"{', '.join(both)} do not all read the same two sources"
        remedy = "leave it one, or name two source columns"
        check(self.model.source_attention == "one" or two, "model.source_attention=each", problem, remedy)

    def _check_tuning(self) -> None:
        tunable = [key for key, found in settings_of(RunConfig).items() if found.spec.tunable]
        for i, point in enumerate(self.tune.points, start=1):
            for key in point:
                problem = f"{key} cannot be tuned"
                check(key in tunable, f"tune={self.tune.name}, point {i}", problem, f"tune one of {', '.join(tunable)}")

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
        return bool(self.data.vocabulary == "joint")

    @property
    def declared(self) -> dict[str, Any]:
        """Primary metric, split, baseline and margin, each with what None stands for."""
        tests = [split for split, files in self.data.splits.items() if files and split not in ("train", "valid")]
        split = "test" if self.data.format in OWN_SPLITS or "test" in tests else (tests or ["valid"])[0]
        if len(self.directions) + len(self.zero_shot) > 1:
            split += ".mean"
        metric = {"lm": "bits_per_byte", "mlm": "ppl_token", "mt": self.task.metrics[0]}[self.task.name]
        stated = asdict(self.report) | {"metric": self.report.metric or metric, "split": self.report.split or split}
        return {key: value for key, value in stated.items() if value != []}

    @property
    def is_trial(self) -> bool:
        """Whether the run serves only to choose a point of a tuning list."""
        return self.tune.role == "tuning"

    @property
    def tying_label(self) -> str:
        return tying_label(self.tying.ties)

    @property
    def title(self) -> str:
        return f"{self.task.name}, tying={self.tying_label}"

    @property
    def typical_length(self) -> int:
        """Tokens per sequence at which FLOPs per token are quoted: a window, or a sentence of 25 pieces."""
        return 25 if self.task.name == "mt" else self.task.window
