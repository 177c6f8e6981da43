"""Models in and out: `tietrain export` writes a folder in Hugging Face format, `tietrain import` makes a run of one."""

import argparse
from dataclasses import asdict
from pathlib import Path

from tietrain.cli.registry import CONFIG_DIR, answer, argument, overrides, verb
from tietrain.cli.use import CHECKPOINT, RUN
from tietrain.runs import record as runs


@verb(
    "export",
    RUN,
    argument("folder", nargs="?", type=Path, help="a new or empty folder; default: RUN/hf or RUN/ctranslate2"),
    argument(
        "--to", choices=("hf", "ctranslate2"), required=True, help="the format: of transformers, or of CTranslate2"
    ),
    CHECKPOINT,
)
def export(args: argparse.Namespace) -> int:
    """Write a run's model as GPT2LMHeadModel, LlamaForCausalLM or MarianMTModel, with its vocabularies: JSON and safetensors.

    A model that none of them can hold is refused, with every setting that is in the way. CTranslate2 takes those of Marian's.
    """
    from tietrain.train.export import export_run

    found = export_run(args.run, args.to, args.folder, args.checkpoint)
    there = "" if found.params_there is None else f", {found.params_there:,} there"
    lines = [f"{found.folder}: {found.class_name}, {found.params:,} parameters in the run{there}"]
    if found.apart:
        group = ", ".join(found.apart[0][:2])
        lines.append(
            f"ties that the class does not know are written once for each use ({group}, ...): tie them again with"
        )
        lines.append('  tietrain.tie(model, model.config.tietrain["groups"])')
    if found.no_tokenizer:
        lines.append(f"no tokenizer.json: {found.no_tokenizer}; the vocabularies are there")
    return answer(args, asdict(found), lines)


@verb(
    "import",
    argument("folder", type=Path, help="a folder that `tietrain export` wrote, or with data.vocabulary=... any other"),
    overrides("data=..., tying=..., and what else a run may have beside its model"),
    CONFIG_DIR,
)
def import_model(args: argparse.Namespace) -> int:
    """Make a run directory of a model in Hugging Face format: to train on, convert, evaluate, or start others from.

    No step of the run is done: its weights are the folder's, and the ties are checked against them.
    """
    from tietrain.train.imported import import_folder

    found = import_folder(args.folder, args.overrides, args.config_dir)
    lines = [
        f"{found.directory}: {found.class_name}, tying={found.tying}, {found.params:,} parameters, {found.params_there:,} in the folder",
        f"`{runs.resume_command(Path(found.directory))}` trains it, init_from={found.directory} starts another run from it,",
        "`tietrain convert` gives it other ties, and `tietrain eval` and the like use it with --checkpoint final",
    ]
    return answer(args, asdict(found), lines)
