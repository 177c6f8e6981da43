"""A run directory opened again: configuration, plan, vocabularies and weights, checked against one another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tietrain.config import HardwareConfig, RunConfig
from tietrain.config.directions import Direction
from tietrain.config.stored import read_run_config, stored_record
from tietrain.data.batches.pairs import Sources
from tietrain.data.encoded import EncodedLines
from tietrain.data.tokenizer import EOS_ID, UNK_ID, Vocabulary
from tietrain.data.vocabularies import load_vocabularies
from tietrain.errors import DataError, SettingsError
from tietrain.model.audit import audit_model
from tietrain.model.beam import Search, search
from tietrain.model.layers import StillWeights
from tietrain.model.sampling import Sampling, sample
from tietrain.model.transformer import Transformer
from tietrain.plan.difference import Difference, record_of
from tietrain.plan.slots import clip_length
from tietrain.runs import record as runs
from tietrain.runs.durable import is_whole
from tietrain.runs.reading import is_there, names_in
from tietrain.train.averaging import find_scored
from tietrain.train.checkpoint import MODEL, check_header, load_model, step_checkpoints
from tietrain.train.experiment import Experiment
from tietrain.train.hardware import Hardware, resolve_hardware
from tietrain.train.tasks.mt import Translated, translations

# The weights that the scores of `eval.json` are of, and the newest ones to continue from.
SCORED, LAST = "scored", "last"
# Samples drawn at once.
SAMPLE_ROWS = 64


@dataclass(frozen=True)
class SavedRun:
    """A run ready for use. checkpoint: which weights these are."""

    directory: Path
    experiment: Experiment
    record: runs.RunRecord
    vocabularies: Mapping[str, Vocabulary]
    model: Transformer
    hardware: Hardware
    checkpoint: dict[str, Any]

    def to_hardware_precision(self) -> None:
        """Let the model compute as fast as the device does; scores are in float32."""
        if self.hardware.precision == "bf16":
            self.model.to(torch.bfloat16)

    @property
    def config(self) -> RunConfig:
        """What the run was made with."""
        return self.experiment.config

    def direction(self, name: str | None) -> Direction:
        """The direction of that name; None for the only one.

        Raises:
            SettingsError: there is none, or several, or it reads what a line of text cannot hold.
        """
        named = {direction.name: direction for direction in self.experiment.layout.directions}
        if name not in named and (name or len(named) > 1):
            requested = f"--direction {name}" if name else "tietrain translate"
            raise SettingsError(
                requested, f"the run has the directions {', '.join(named)}", "name one with --direction"
            )
        direction = named[name] if name else self.experiment.layout.directions[0]
        if read := [column for column in direction.sources if column in self.config.data.features]:
            problem = f"{direction.name} reads feature vectors ({read[0]}), which a line of text cannot hold"
            remedy = "use `tietrain eval RUN data.splits.NAME=[...]` on files that hold them"
            raise SettingsError("tietrain translate", problem, remedy)
        return direction

    def translate(
        self,
        direction: Direction,
        lines: Sequence[str],
        settings: Search,
        prefixes: Sequence[str] | None = None,
        batch_tokens: int | None = None,
        first_line: int = 1,
        kept: dict[str, StillWeights] | None = None,
    ) -> Iterator[tuple[int, list[Translated]]]:
        """Row and best translations of each line, as its batch is done; blank lines have none.

        Args:
            lines: texts of the direction's sources, with a TAB between them if there are several.
            prefixes: what each translation begins with. first_line: number of the first line, for messages.
            kept: what calls share between which the weights do not change; empty at first.
        Raises:
            DataError: a line has another number of texts; or it or its prefix is longer than a learned table of positions;
                or the vocabulary lacks what a prefix has.
        """
        rows = [row for row, line in enumerate(lines) if line.strip()]
        sources = self._sources(direction, {first_line + row: lines[row] for row in rows})
        stack = self.experiment.layout.decoders[direction.target]
        vocabulary, forced = self.vocabularies[stack], None
        if prefixes is not None:
            forced = [_known(vocabulary, f"prefix of line {first_line + row}", prefixes[row]) for row in rows]
        for i, (row, n_read) in enumerate(zip(rows, sources.longest.tolist() if rows else [], strict=True)):
            self._check_positions(f"line {first_line + row}", max(n_read, len(forced[i]) if forced else 0) + 2)
        found = translations(self.model, self.config, vocabulary, sources, stack, settings, forced, batch_tokens, kept)
        for i, hypotheses in found:
            yield rows[i], hypotheses

    def _sources(self, direction: Direction, lines: Mapping[int, str]) -> Sources:
        """Lines, by their numbers, as the stacks of a direction read them."""
        several = len(direction.sources) > 1
        fields = {number: line.split("\t") if several else [line] for number, line in lines.items()}
        for number, texts in fields.items():
            if len(texts) != len(direction.sources):
                problem = f"it has {len(texts)} fields, and {direction.name} reads {len(direction.sources)}"
                raise DataError(f"line {number}", problem, "write a tab between the sources and nowhere else")
        stacks = [self.experiment.layout.encoders[column] for column in direction.sources]
        columns = {stack: [texts[i] for texts in fields.values()] for i, stack in enumerate(stacks)}
        read = {stack: EncodedLines.of(self.vocabularies[stack].encode(texts)) for stack, texts in columns.items()}
        tags = self.vocabularies[stacks[0]].tags
        return Sources(dict(read), tags[direction.target] if direction.target in self.experiment.layout.tags else None)

    def continuations(self, prompt: str, n: int, length: int, settings: Sampling | Search) -> list[str]:
        """Prompt and what follows it, n times: drawn, or by beam search the n most probable ways to end the line."""
        vocabulary = self.vocabularies["decoder"]
        *whole, last = [_known(vocabulary, "--prompt", line) for line in prompt.split("\n")]
        ids = [piece for line in whole for piece in (*line, EOS_ID)] + last
        if isinstance(settings, Search):
            self._check_positions(f"--length {length}", 1 + len(ids) + length)
            (((_, found),),) = search(self.model, None, [ids], [length], settings)
            return [self._text(hypothesis.pieces) for hypothesis in found]
        window = clip_length(self.config.model, self.config.task.window)
        drawn: list[list[int]] = []
        for start in range(0, n, SAMPLE_ROWS):
            numbers = range(start, min(start + SAMPLE_ROWS, n))
            drawn += sample(self.model, ids, numbers, length, window, settings)
        return [self._text([*ids, *pieces]) for pieces in drawn]

    def _text(self, pieces: list[int]) -> str:
        lines: list[list[int]] = [[]]
        for piece in pieces:
            lines.append([]) if piece == EOS_ID else lines[-1].append(piece)
        return "\n".join(self.vocabularies["decoder"].decode(lines))

    def _check_positions(self, requested: str, n_tokens: int) -> None:
        n_positions = clip_length(self.config.model, n_tokens)
        if n_positions < n_tokens:
            problem = f"it has {n_tokens} tokens, and the model has learned {n_positions} positions"
            raise DataError(requested, problem, "give it in parts")


def open_run(directory: Path, checkpoint: str = SCORED, hardware: HardwareConfig | None = None) -> SavedRun:
    """A run's model, with everything needed to use it.

    Args:
        checkpoint: `scored`, `last`, the number of a step, or the name of a folder in `checkpoints/`.
        hardware: None for what this machine has; the run's own may be another one's.
    Raises:
        SettingsError: it is not a run directory, or its configuration is out of range.
        DataError: something in it is missing or damaged, or does not fit the rest.
    """
    experiment = Experiment(read_run_config(directory))
    record = runs.read_record(directory)
    if record.exit_code in (SettingsError.exit_code, DataError.exit_code) and not names_in(
        directory / runs.CHECKPOINTS
    ):
        remedy = "it was never trained, so correct this and run it again"
        raise DataError(str(directory), f"it was refused: {record.reason}", remedy)
    vocabularies = load_vocabularies(directory, experiment.layout.vocabularies, record.fingerprints)
    experiment = experiment.with_vocabularies(vocabularies)
    difference = Difference(stored_record(directory), record_of(experiment.plan)).words()
    if difference:
        problem = f"its plan is not the one {runs.CONFIG} makes: {difference}"
        raise DataError(str(directory / runs.PLAN), problem, "restore both, or use the tietrain that wrote them")
    resolved = resolve_hardware(hardware or HardwareConfig())
    weights, about = _find_weights(directory, checkpoint, experiment.config)
    check_header(weights / MODEL, experiment.plan)
    model = experiment.unfilled_model()
    load_model(weights / MODEL, model)
    audit_model(model)
    if resolved.compile:
        model.compile_steps()
    return SavedRun(directory, experiment, record, vocabularies, model.to(resolved.device), resolved, about)


def _known(vocabulary: Vocabulary, requested: str, text: str) -> list[int]:
    """The pieces of a text to go on from; DataError if the vocabulary lacks some of it."""
    (pieces,) = vocabulary.encode([text])
    if UNK_ID in pieces:
        unknown = [word for word in text.split() if UNK_ID in vocabulary.encode([word])[0]] or [text]
        raise DataError(requested, f"the run's vocabulary lacks {unknown[0]!r}", "write it without")
    return pieces


def _find_weights(directory: Path, checkpoint: str, config: RunConfig) -> tuple[Path, dict[str, Any]]:
    """Where the requested weights are, and which they are."""
    folder = directory / runs.CHECKPOINTS
    steps = step_checkpoints(folder)
    if checkpoint == SCORED and is_there(directory / runs.EVAL):
        return find_scored(directory, config.train)
    names = [name for name in names_in(folder) if is_whole(folder / name)]
    name = checkpoint
    if checkpoint == LAST and steps:
        name = steps[max(steps)].name
    elif checkpoint.isdecimal():
        name = f"step_{int(checkpoint):08d}"
    if name not in names:
        there = f"whole are {', '.join(names)}" if names else "there is none"
        problem = f"the run has no such checkpoint: {there}"
        remedy = "name one of them" if names else "continue the run first"
        if checkpoint == SCORED:
            problem, remedy = f"the run is not finished: {there}", "continue it, or choose another checkpoint"
        raise DataError(f"{directory} --checkpoint {checkpoint}", problem, remedy)
    return folder / name, {"name": name}
