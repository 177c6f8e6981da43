"""Every key of the configuration, and what a flat configuration means by it: which keys are read, what identity holds."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.resources import files
from typing import Any

from tietrain.config import other_names
from tietrain.config.run import RunConfig
from tietrain.config.setting import NOTHING, Flat, Setting, settings_of
from tietrain.config.training import BUDGET_UNITS
from tietrain.errors import SettingsError
from tietrain.plan.catalogue import CONF

ALL: Mapping[str, Setting] = settings_of(RunConfig)
# Groups of files in conf/.
GROUPS = ("task", "data", "model", "tying", "optim", "train", "hardware", "tune", "experiment")
# Another value of these makes no other run.
VOLATILE = frozenset(key for key, found in ALL.items() if not found.spec.identity)
PIECES = tuple(key for key, found in ALL.items() if found.spec.pieces)
BUDGET = frozenset(key for key, found in ALL.items() if found.spec.budget)
AT_EVAL = tuple(key for key, found in ALL.items() if found.spec.at_eval)
# Settings that are mappings, or lists of them: not every run has the same keys below.
NESTED = tuple(key for key, found in ALL.items() if "dict[" in found.annotation)
# Budgets of training, one per unit.
LIMITS = tuple(f"train.max_{unit}" for unit in BUDGET_UNITS)
# What was added since version 0.2.0 -> what its absence meant.
ABSENT = {key: found.spec.absent for key, found in ALL.items() if found.spec.absent is not NOTHING}


def setting_of(key: str) -> Setting | None:
    """The setting that a full key, or a key inside of its mapping or list, belongs to; None if there is none."""
    while key not in ALL:
        if "." not in key:
            return None
        key = key.rpartition(".")[0]
    return ALL[key]


def is_read(key: str, flat: Flat) -> bool:
    """Whether a run of this flat configuration reads the setting; what this version does not know counts as read."""
    found = setting_of(key)
    if found is None:
        return True
    return all(
        condition.holds(flat) and (condition.key == found.key or is_read(condition.key, flat))
        for condition in found.spec.read_if
    )


def unread_notes(words: Iterable[str], flat: Flat) -> list[str]:
    """Those of the overrides that a run of this flat configuration does not read, and what would read them."""
    notes = []
    for word in words:
        found = setting_of(word.partition("=")[0].lstrip("+"))
        if found is not None and not is_read(found.key, flat):
            needed = " and ".join(condition.words for condition in found.spec.read_if)
            notes.append(f"{word} is not used: it is read if {needed}")
    return notes


def read_settings(flat: Flat) -> dict[str, Any]:
    """Those settings that the run reads."""
    return {key: value for key, value in flat.items() if is_read(key, flat)}


def identity_of(flat: Flat) -> dict[str, Any]:
    """What makes a run another run: key -> value.

    A setting that is not read stands there at its default (see `Spec.unread`), whatever it was set to; one that was added
    later (`Spec.absent`) is left out while it has the value that meant its absence.
    """
    kept: dict[str, Any] = {}
    for key, value in flat.items():
        found = setting_of(key)
        if found is None:
            kept[key] = value
        elif found.spec.identity and is_read(key, flat):
            if value != found.spec.absent:
                kept[key] = value
        elif found.spec.identity and found.stands_for_unread is not NOTHING:
            kept[found.key] = found.stands_for_unread
    return kept


def as_meant(settings: Flat) -> Flat:
    """The settings that a run recorded and, of those that were added since, what their absence meant."""
    return {**ABSENT, **settings}


def suggestion(word: str, choices: Iterable[str]) -> str:
    """`did you mean ...?` for the nearest choice, by whole key or by its last part; or what others call by this name."""
    choices = list(choices)
    leaf = word.rsplit(".", 1)[-1]
    last = {choice.rsplit(".", 1)[-1]: choice for choice in choices}
    if leaf in other_names.WAYS and leaf not in last:
        return other_names.WAYS[leaf]
    for name in (word, leaf):
        if name in other_names.SETTINGS and name not in last:
            return f"here it is called {other_names.SETTINGS[name]}"
    near = [last[leaf]] if leaf in last else get_close_matches(word, choices, n=1, cutoff=0.75)
    near = near or [last[name] for name in get_close_matches(leaf, list(last), n=1, cutoff=0.7)]
    return f"did you mean {near[0]}?" if near else "`tietrain settings` lists every key"


def choices_of(group: str) -> list[str]:
    """Names that can follow `GROUP=`."""
    folder = files(CONF) / group
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def tying_choices() -> list[str]:
    """Names that can follow `tying=`."""
    return choices_of("tying")


def unknown_flag(flag: str, program: str) -> SettingsError:
    """The refusal of a flag that a command does not have: settings are words without dashes."""
    name = flag.partition("=")[0]
    remedy = f"`{program} --help` lists the flags"
    if name.startswith("--"):
        remedy = f"settings have no dashes: write key=value; {suggestion(name.strip('-').replace('-', '_'), [*ALL, *GROUPS])}"
    return SettingsError(name, "there is no such flag", remedy)
