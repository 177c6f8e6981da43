"""A run as a folder in Hugging Face format (config.json, safetensors, vocabularies, a tokenizer if it is exact), or CTranslate2's."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from tietrain import __version__
from tietrain.config import HardwareConfig, RunConfig
from tietrain.config.hf_classes import GPT2, HfClass, fitting_class, to_config_json
from tietrain.config.stored import read_run_config
from tietrain.data.hf_tokenizer import difference, tokenizer_config, tokenizer_json
from tietrain.data.prepare import prepare_scored
from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from tietrain.errors import SettingsError, TietrainError
from tietrain.model.ct2 import LIBRARY, make_spec
from tietrain.model.hf_weights import to_hf
from tietrain.runs import record as runs
from tietrain.runs.hf_folder import CONFIG, OWN, WEIGHTS
from tietrain.runs.ownership import check_free, write_free
from tietrain.train.experiment import Experiment
from tietrain.train.saved import SavedRun, open_run
from tietrain.train.tasks.mt import max_output

HF, CT2 = "hf", "ctranslate2"


@dataclass(frozen=True)
class Exported:
    """What was written. params: stored in the run; params_there: in the folder, None if that library decides it.

    apart: groups of tensors that are one in the run and several in the class. no_tokenizer: why there is none; empty if there
    is one, or the library has none.
    """

    folder: str
    class_name: str
    params: int
    params_there: int | None
    apart: list[list[str]]
    no_tokenizer: str


def export_run(run: Path, to: str = HF, folder: Path | None = None, checkpoint: str = "scored") -> Exported:
    """Write a run's model into a new folder that another library reads.

    Args:
        to: HF, for transformers, or CT2.
        folder: None for one in the run directory that is called as `to`.
        checkpoint: see `open_run`.
    Raises:
        SettingsError: the library holds no such model, or is needed and not installed, or the folder is not free.
        DataError, StorageError: of `open_run`, or the disk refuses.
    """
    folder = folder or run / to
    experiment = Experiment(read_run_config(run))
    requested = f"tietrain export {run} --to {to}"
    hf_class = fitting_class(requested, experiment.config, experiment.layout, experiment.plan)
    if to == CT2:
        _check_ct2(requested, experiment.config)
    check_free(folder)
    saved = open_run(run, checkpoint, HardwareConfig(device="cpu"))
    return _write_ct2(saved, folder) if to == CT2 else _write_hf(saved, hf_class, folder)


def _write_hf(saved: SavedRun, hf_class: HfClass, folder: Path) -> Exported:
    config = saved.config
    weights = to_hf(saved.model, hf_class)
    about = {"version": __version__, "run": saved.record.id, "tying": config.tying.ties, "groups": weights.groups}
    longest = _longest(config)
    config_json = to_config_json(hf_class, config, saved.experiment.plan) | weights.switches | _tokens(config)
    if hf_class is not GPT2:  # which has a table of positions
        config_json["max_position_embeddings"] = max(longest)
    generation = _tokens(config) | {"suppress_tokens": [PAD_ID, BOS_ID]}
    if config.task.name == "mt":
        generation["max_new_tokens"] = longest[1]
    no_tokenizer, tokenizer = _tokenizer(saved)

    def fill(beside: Path) -> None:
        runs.write_json(beside / CONFIG, {**config_json, "dtype": "float32", OWN: about})
        runs.write_json(beside / "generation_config.json", generation)
        save_file(weights.tensors, beside / WEIGHTS, metadata={"format": "pt"})
        for stack, vocabulary in saved.vocabularies.items():
            vocabulary.save(beside / f"{stack}.model")
        for name, body in tokenizer.items():
            runs.write_json(beside / name, body)

    params = sum(tensor.numel() for tensor in weights.tensors.values())
    write_free(folder, fill, 4 * params)
    return Exported(str(folder), hf_class.name, saved.experiment.params.params, params, weights.groups, no_tokenizer)


def _check_ct2(requested: str, config: RunConfig) -> None:
    if config.task.name != "mt":
        raise SettingsError(requested, f"task={config.task.name} is not translation", "use --to hf")
    if config.model.embed_scale != "sqrt_d":
        problem = f"it cannot hold model.embed_scale={config.model.embed_scale}"
        raise SettingsError(requested, problem, "use --to hf")
    if find_spec(LIBRARY) is None:
        raise SettingsError(requested, f"{LIBRARY} is not installed", f"pip install 'tietrain[{LIBRARY}]'")


def _write_ct2(saved: SavedRun, folder: Path) -> Exported:
    spec = make_spec(saved.model, max(_longest(saved.config)))
    source, target = (saved.vocabularies[stack].pieces for stack in ("encoder", "decoder"))
    spec.register_source_vocabulary(source)
    spec.register_target_vocabulary(target)
    spec.config.unk_token = target[UNK_ID]
    spec.config.eos_token = target[EOS_ID]
    spec.config.bos_token = target[BOS_ID]
    spec.config.decoder_start_token = target[BOS_ID]
    spec.config.add_source_eos = True
    spec.validate()
    spec.optimize(quantization="float32")

    def fill(beside: Path) -> None:
        spec.save(str(beside))
        for stack, vocabulary in saved.vocabularies.items():
            vocabulary.save(beside / f"{stack}.model")

    params = saved.experiment.params.params
    write_free(folder, fill, 4 * params)
    return Exported(str(folder), "CTranslate2's Translator", params, None, [], "")


def _tokens(config: RunConfig) -> dict[str, Any]:
    """The pieces that mean something to both libraries; a language model reads on after the end of a line."""
    if config.task.name == "lm":
        return {"pad_token_id": PAD_ID, "bos_token_id": EOS_ID, "eos_token_id": EOS_ID}
    forced = {"decoder_start_token_id": BOS_ID, "forced_eos_token_id": None}
    return {"pad_token_id": PAD_ID, "bos_token_id": BOS_ID, "eos_token_id": EOS_ID, **forced}


def _longest(config: RunConfig) -> tuple[int, int]:
    """Tokens of the longest text that is read, and that is written."""
    if config.task.name == "lm":
        return config.task.window, config.task.window
    return config.task.max_len + 1, max_output(config, config.task.max_len)


def _tokenizer(saved: SavedRun) -> tuple[str, dict[str, Any]]:
    """Why there is no tokenizer, empty if there is one; and its files by name."""
    if len({vocabulary.fingerprint for vocabulary in saved.vocabularies.values()}) > 1:
        return "source and target have a vocabulary each, and a tokenizer.json holds one", {}
    vocabulary = saved.vocabularies["decoder"]
    made = tokenizer_json(vocabulary, saved.config.task.name)
    try:
        valid = prepare_scored(saved.config, saved.vocabularies, ["valid"]).corpus.splits["valid"]
    except TietrainError as e:
        return f"the text of valid, which would show that it is exact, cannot be read ({e})", {}
    lines = [line for column in valid.texts.values() for line in column]
    if problem := difference(vocabulary, made, lines):
        return problem, {}
    return "", {"tokenizer.json": made, "tokenizer_config.json": tokenizer_config(vocabulary)}
