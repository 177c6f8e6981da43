"""Where a run of a study lies: in the folder that it has, whatever its name shows of a grid, or in the one that it gets."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tietrain.config import HardwareConfig, RunConfig
from tietrain.config.identity import became_same, cell_title, result_settings, run_title, settings_hash
from tietrain.errors import TietrainError
from tietrain.runs import record as runs
from tietrain.runs.reading import names_in

# Settings that `auto` leaves to the machine -> what it can become.
AUTO = {"hardware.device": ("cpu", "cuda"), "hardware.precision": ("fp32", "bf16")}


def find_place(config: RunConfig) -> Path:
    """The folder of a run: one with its hash, else one where `auto` made the same of it, else a new one."""
    study = Path("outputs", config.study)
    title = run_title(config)
    settings = result_settings(config)
    known = known_places(study, title)
    digest = settings_hash(settings)
    for other in _with_auto(settings) if known and digest not in known else ():
        twin = known.get(settings_hash(other))
        if twin and _became_same(twin, settings, other, config.hardware):
            return twin
    return known.get(digest) or new_place(study, title, config.swept, digest)


def known_places(study: Path, title: str) -> dict[str, Path]:
    """Hash -> folder, of those whose names begin with a title."""
    return {name.rpartition("-")[2]: study / name for name in names_in(study) if name.startswith(f"{title}-")}


def new_place(study: Path, title: str, swept: Iterable[str], digest: str) -> Path:
    """A folder whose name shows what a grid sweeps."""
    return study / "-".join(filter(None, [title, cell_title(swept), digest]))


def _with_auto(settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The settings with `auto` in the place of a device or precision that is named, and the other way round."""
    choices = [(settings[key], *(values if settings[key] == "auto" else ("auto",))) for key, values in AUTO.items()]
    for chosen in itertools.islice(itertools.product(*choices), 1, None):
        yield settings | dict(zip(AUTO, chosen, strict=True))


def _became_same(folder: Path, settings: dict[str, Any], other: dict[str, Any], hardware: HardwareConfig) -> bool:
    """Whether the run in a folder, made with the other settings, ran on what these settings mean here."""
    here = {key.partition(".")[2]: settings[key] for key in AUTO}
    try:
        record = runs.read_record(folder)
        if any(settings[key] == "auto" != other[key] for key in AUTO):
            from tietrain.train.hardware import resolve_hardware

            here = resolve_hardware(hardware).describe()
    except TietrainError:
        return False
    machines = [machine for machine in (*record.earlier_machines, record.machine) if machine]
    changed = [key for key in AUTO if settings[key] != other[key]]
    return bool(machines) and all(became_same(key, machines[-1], here) for key in changed)
