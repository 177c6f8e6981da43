"""Which of a run's settings it used: those of another task, corpus, search, optimizer or schedule had no effect."""

from __future__ import annotations

from tietrain.runs.view import Run, Scalar

OF_TRANSLATION = (
    *("task.directions", "task.zero_shot", "task.temperature", "task.train_pairs", "task.disjoint", "task.max_len"),
    *("task.metrics", "task.bleu_tokenize", "task.beam", "task.length_penalty", "task.max_output_ratio"),
    *("task.max_output_extra", "data.features", "data.vocabulary", "model.n_encoder_layers", "model.encoders"),
    *("model.decoders", "model.source_attention"),
)
OF_GRAMMAR = ("data.preset", "data.seed", "data.language_seed", "data.difficulty", "data.alphabet_b")
# A setting, its values with which other settings are read, and those settings. Settings that are not here are always read.
READ_WITH: tuple[tuple[str, tuple[Scalar, ...], tuple[str, ...]], ...] = (
    ("task.name", ("lm",), ("task.eval_stride",)),
    ("task.name", ("mlm",), ("task.mask_rate",)),
    ("task.name", ("lm", "mlm"), ("task.window",)),
    ("task.name", ("mt",), OF_TRANSLATION),
    ("data.format", ("grammar",), OF_GRAMMAR),
    ("optim.name", ("sgd",), ("optim.momentum",)),
    ("optim.name", ("adam", "adamw"), ("optim.betas", "optim.eps")),
    ("optim.schedule", ("wsd",), ("optim.decay",)),
    ("optim.schedule", ("wsd", "cosine"), ("optim.min_lr_ratio",)),
    ("model.positions", ("learned",), ("model.max_len",)),
    ("train.average", ("last", "best"), ("train.n_averaged",)),
)


def used_settings(run: Run) -> dict[str, Scalar]:
    """Full key -> value; without hardware.*, because the record of the machine says what was used."""
    settings = run.settings | {"task.name": run.task}
    unused: set[str] = set()
    for switch, values, keys in READ_WITH:
        if settings.get(switch) not in values:
            unused.update(keys)
    # Lists are stored as their JSON text.
    directions = str(settings.get("task.directions") or "[]")
    if directions == "[]":
        unused.add("model.decoders")
    if "," not in directions:
        unused.update(("task.temperature", "task.disjoint"))
    if "+" not in directions:
        unused.add("model.source_attention")
    if '"bleu"' not in str(settings.get("task.metrics")):
        unused.add("task.bleu_tokenize")
    if settings.get("task.beam") == 1:
        unused.add("task.length_penalty")
    return {k: v for k, v in run.settings.items() if not (k in unused or k.startswith("hardware."))}
