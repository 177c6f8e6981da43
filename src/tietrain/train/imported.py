"""A folder in Hugging Face format as a run directory: what `tietrain export` writes, with the weights that it has by now.

No step of the run has been done. It is ready to train on, convert, evaluate and start others from.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tietrain.config import ModelConfig, RunConfig, TyingConfig
from tietrain.config.compose import compose_config, parse_overrides
from tietrain.config.given import use_given
from tietrain.config.hf_classes import HfClass, from_config_json
from tietrain.config.layout import make_layout, make_shape
from tietrain.data.prepare import prepare
from tietrain.errors import DataError, SettingsError
from tietrain.model.audit import audit_model
from tietrain.model.hf_weights import SHARED, TIED, biases_of, from_hf
from tietrain.runs.hf_folder import CONFIG, OWN, HfFolder, Stored, read_hf_folder
from tietrain.runs.reading import is_there
from tietrain.train.begun import begun_record, check_begin, write_begun
from tietrain.train.experiment import Experiment
from tietrain.train.optim import build_optimizer
from tietrain.train.state import TrainState
from tietrain.train.tasks import make_task

TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
CHUNK = 2**24
# The setting of the model that does not change what it computes.
DROPOUT = "model.dropout"


@dataclass(frozen=True)
class Imported:
    """What was made. params: stored in the run; params_there: in the folder."""

    directory: str
    class_name: str
    tying: str
    params: int
    params_there: int


def import_folder(folder: Path, words: Sequence[str], config_dirs: Sequence[str] = ()) -> Imported:
    """Make the run directory of a folder.

    Args:
        words: settings, as for a run: the text at least. Ties that are not given are those that the folder names.
    Raises:
        DataError: the folder holds no model that tietrain can compute, or not its vocabulary.
        SettingsError: a setting contradicts the folder, or the run directory is not free.
    """
    hf = read_hf_folder(folder)
    if hf.broken:
        raise DataError(str(folder), "; ".join(hf.broken), "give a whole folder")
    path = str(folder / CONFIG)
    hf_class, values = from_config_json(path, hf.config)
    given = _given_keys(words, folder)
    tensors = {hf_class.name_of(name): _read(name, stored) for name, stored in hf.tensors.items()}
    config = compose_config([f"task={hf_class.task}", *words], config_dirs)
    if DROPOUT not in given:
        config.model.dropout = values.get("dropout", 0.0)
    config = _with_model(config, hf_class, values, tensors)
    if not any(key.partition(".")[0] == "tying" for key in given):
        config = _with_ties(config, hf_class, hf)
    if not config.data.vocabulary_files:
        config = _with_vocabulary(config, folder)
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].numpy().tobytes())
    config = replace(config, converted=f"{hf_class.name} {digest.hexdigest()[:12]}")

    check_begin(Experiment(config).directory)
    prepared = prepare(config)
    experiment = Experiment(config).with_vocabularies(prepared.vocabularies)
    if experiment.plan.views:
        problem = "it reads parameters through views, and the folder has what they gave"
        raise SettingsError(f"tying={config.tying_label}", problem, "add tying=none, then `tietrain convert` the run")
    model = experiment.build_model()
    from_hf(str(folder), tensors, hf_class, model)
    audit_model(model)
    batches = {"batches": make_task(config, prepared).batches.fingerprint}
    fingerprints = {"source": experiment.corpus_key} | prepared.fingerprints | batches
    record = begun_record(experiment, fingerprints, ["import", str(folder), *words])
    record.notes = list(prepared.notes)
    log = f"imported from {folder}: {config.converted}\n"
    optimizer = build_optimizer(model, config.optim)
    write_begun(experiment, model, optimizer, TrainState(), record, log, is_start=True)
    return Imported(
        directory=str(experiment.directory.absolute()),
        class_name=hf_class.name,
        tying=config.tying_label,
        params=experiment.params.params,
        params_there=sum(tensor.numel() for tensor in tensors.values()),
    )


def _given_keys(words: Sequence[str], folder: Path) -> set[str]:
    """The keys that words set; SettingsError if the folder decides one of them, or none says what text there is."""
    given = set()
    for override in parse_overrides(words):
        key = override.key_or_group
        given.add(key)
        is_start = key == "init_from" or key.startswith("init_tables.")
        if is_start or key in ("task", "task.name", "model") or (key.startswith("model.") and key != DROPOUT):
            raise SettingsError(str(override.input_line), f"{folder} decides it", "leave it out")
    if not any(key.partition(".")[0] == "data" for key in given):
        problem = "nothing says what text the run is to be trained and scored on"
        raise SettingsError(f"tietrain import {folder}", problem, "add data=... and its files, as for a run")
    return given


def _read(name: str, stored: Stored) -> Tensor:
    """A tensor in float32, which holds every number of the types it may have."""
    if stored.dtype not in TYPES or not stored.n_numbers:
        problem = f"{name} holds {stored.n_numbers:,} numbers of type {stored.dtype}"
        raise DataError(str(stored.path), problem, f"save the model in one of {', '.join(TYPES)}")
    content = bytearray(b"".join(stored.chunks(CHUNK)))
    tensor = torch.frombuffer(content, dtype=TYPES[stored.dtype]).view(stored.shape).float()
    if not tensor.isfinite().all():
        raise DataError(str(stored.path), f"{name} is not finite", "give a model that has not diverged")
    return tensor


def _with_model(
    config: RunConfig, hf_class: HfClass, values: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> RunConfig:
    """The configuration with the folder's shape; the vocabularies decide the sizes of the tables."""
    of_tables = ("vocab_size", "target_vocab_size")
    kept = {name: getattr(config.model, name) for name in (*of_tables, "dropout")}
    shape = {name: value for name, value in values.items() if name not in kept}
    every_bias: dict[str, Any] = dict.fromkeys(("attn_bias", "ffn_bias", "norm_bias"), True)
    model = ModelConfig(**{"embed_scale": "1", **shape}, output_scale="1", **kept)
    shape_with_all = make_shape(replace(config, model=replace(model, **every_bias)))
    biases: dict[str, Any] = {**biases_of(hf_class, shape_with_all, tensors)}
    return replace(config, model=replace(model, **biases))


def _with_ties(config: RunConfig, hf_class: HfClass, hf: HfFolder) -> RunConfig:
    """The configuration with the ties that the folder names: those of the run it was, or of its tables."""
    own = hf.config.get(OWN)
    ties = own.get("tying") if isinstance(own, dict) else None
    if not isinstance(ties, dict):
        rule = "none"
        if hf.config.get(TIED, hf_class.ties_tables):
            rule = "three_way" if hf.config.get(SHARED, hf_class.task == "mt") else "pre_softmax"
        ties = {rule: {"rule": rule}}
    return replace(config, tying=TyingConfig(ties))


def _with_vocabulary(config: RunConfig, folder: Path) -> RunConfig:
    """The configuration with the vocabularies of the folder."""
    layout = make_layout(config)
    files: dict[str, str] = {}
    for stack, name in layout.vocabularies.items():
        file = folder.resolve() / f"{stack}.model"
        if not is_there(file):
            problem = "there is no such sentencepiece model, so nobody knows what text its pieces are"
            raise DataError(
                str(file), problem, "add data.vocabulary=FILE that has the pieces of the model in their order"
            )
        for column in layout.columns[name]:
            files.setdefault(column, str(file))
    return use_given(replace(config, data=replace(config.data, vocabulary=files)), ())
