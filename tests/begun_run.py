"""A run directory with random weights that no step has trained, made in a moment."""

from pathlib import Path

import torch

from tietrain.config.compose import compose_config
from tietrain.data.prepare import prepare
from tietrain.model.transformer import Transformer
from tietrain.runs.reading import is_there
from tietrain.train.begun import begun_record, write_begun
from tietrain.train.experiment import Experiment
from tietrain.train.optim import build_optimizer
from tietrain.train.state import TrainState

SIZE = ["model.d_model=16", "model.n_heads=4", "model.d_ff=24", "model.n_layers=4", "model.vocab_size=60"]
TRAINING = ["task.window=16", "train.batch_tokens=64", "train.max_steps=2", "hardware.device=cpu", "hardware.threads=1"]
LM = "data.splits={train: [a.txt], valid: [a.txt]}"
MT = "data.splits={train: [a.txt, b.txt], valid: [a.txt, b.txt]}"


def text_words(task: str, place: Path) -> list[str]:
    """Settings of a text of 60 lines, which are written if they are not there, and of a short training."""
    lines = {"a.txt": "one sparrow sang and two owls listened", "b.txt": "ein spatz sang und zwei eulen hoerten zu"}
    for name, line in lines.items():
        words = line.split()
        if not is_there(place / name):
            (place / name).write_text("".join(f"{' '.join(words[i % 5 :] + words[: i % 3])}\n" for i in range(60)))
    return ["data=text", f"data.root={place}", f"data.cache={place / 'cache'}", MT if task == "mt" else LM, *TRAINING]


def make_begun(place: Path, name: str, words: list[str]) -> tuple[Path, Transformer]:
    """A run directory in a folder, and the model in it, all of whose parameters are random.

    Args:
        words: of the task, first, and the model.
    """
    run = place / name
    task = words[0].removeprefix("task=")
    config = compose_config([*words, *text_words(task, place), f"run_dir={run}"])
    prepared = prepare(config)
    experiment = Experiment(config).with_vocabularies(prepared.vocabularies)
    model = experiment.build_model()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    record = begun_record(experiment, prepared.fingerprints, [])
    optimizer = build_optimizer(model, config.optim)
    write_begun(experiment, model, optimizer, TrainState(), record, "made for a test\n", is_start=True)
    return run, model
