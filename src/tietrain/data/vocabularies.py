"""The vocabularies a run keeps beside its weights, so that its directory is all that is needed to use it anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tietrain.data.model_guard import check_foreign_model
from tietrain.data.tokenizer import Vocabulary, load_vocabulary
from tietrain.errors import DataError
from tietrain.runs import record as runs
from tietrain.runs.durable import is_whole, write_directory


def save_vocabularies(run: Path, vocabularies: Mapping[str, Vocabulary]) -> None:
    """Write the vocabulary of every stack into a run directory."""

    def fill(folder: Path) -> None:
        for stack, vocabulary in vocabularies.items():
            vocabulary.save(folder / f"{stack}.model")

    write_directory(run / runs.VOCABULARY, fill)


def load_vocabularies(run: Path, stacks: Iterable[str], fingerprints: Mapping[str, Any]) -> dict[str, Vocabulary]:
    """Stack -> vocabulary, as a run directory holds them.

    Args:
        fingerprints: of `run.json`.
    Raises:
        DataError: they are missing or damaged, or not those the run was trained with.
    """
    folder = run / runs.VOCABULARY
    if not is_whole(folder):
        raise DataError(str(folder), "the run's vocabularies are missing or damaged", "restore it, or run it again")
    vocabularies = {}
    for stack in stacks:
        check_foreign_model(folder / f"{stack}.model")
        vocabularies[stack] = load_vocabulary(folder / f"{stack}.model")
    for stack, vocabulary in vocabularies.items():
        if vocabulary.fingerprint != fingerprints.get(f"vocabulary.{stack}"):
            raise DataError(str(folder), f"the vocabulary of the {stack} is not the run's", "restore the run's own")
    return vocabularies
