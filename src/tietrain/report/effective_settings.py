"""Which of a run's settings it used: those of another task, search, optimizer or schedule had no effect."""

from __future__ import annotations

from tietrain.runs.view import Run, Scalar

TASK = "task."
# Tasks -> the settings of task.* that only they read; all tasks read the others.
TASK_KEYS = {
    ("lm",): ("eval_stride",),
    ("mlm",): ("mask_rate",),
    ("lm", "mlm"): ("window",),
    ("mt",): (
        *("directions", "zero_shot", "temperature", "train_pairs", "disjoint", "max_len", "metrics", "bleu_tokenize"),
        *("beam", "length_penalty", "max_output_ratio", "max_output_extra"),
    ),
}
# A setting, its values with which other settings are read, and those settings.
READ_WITH: tuple[tuple[str, tuple[Scalar, ...], tuple[str, ...]], ...] = (
    ("optim.name", ("sgd",), ("optim.momentum",)),
    ("optim.name", ("adam", "adamw"), ("optim.betas", "optim.eps")),
    ("optim.schedule", ("wsd",), ("optim.decay",)),
    ("optim.schedule", ("wsd", "cosine"), ("optim.min_lr_ratio",)),
    ("model.positions", ("learned",), ("model.max_len",)),
    ("train.average", ("last", "best"), ("train.n_averaged",)),
)
# Read only by runs of several directions or sources.
DIRECTED = ("task.temperature", "task.disjoint", "model.decoders", "model.source_attention")


def used_settings(run: Run) -> dict[str, Scalar]:
    """Full key -> value; without hardware.*, because the record of the machine says what was used."""
    settings = run.settings
    unused = {TASK + key for tasks, keys in TASK_KEYS.items() if run.task not in tasks for key in keys}
    unused |= {key for switch, values, keys in READ_WITH if settings.get(switch) not in values for key in keys}
    unused |= set(DIRECTED) if settings.get("task.directions") is None else set()
    unused |= {"task.length_penalty"} if settings.get("task.beam") == 1 else set()
    return {key: value for key, value in settings.items() if key not in unused and not key.startswith("hardware.")}
