"""What every setting means: lines for a terminal, plain values for programs."""

import json
import re
from typing import Any

from tietrain.config.keys import ALL, suggestion
from tietrain.config.setting import Setting
from tietrain.errors import SettingsError


def find_settings(name: str) -> list[Setting]:
    """The setting of a full key, or those of a group; all for an empty name.

    Raises:
        SettingsError: there is neither such a key nor such a group.
    """
    found = [setting for key, setting in ALL.items() if not name or key == name or key.startswith(f"{name}.")]
    if not found:
        raise SettingsError(f"settings {name}", "there is no such key or group", suggestion(name, ALL))
    return found


def setting_json(setting: Setting) -> dict[str, Any]:
    """A setting in plain values."""
    spec = setting.spec
    return {
        "key": setting.key,
        "type": setting.annotation,
        "default": setting.default,
        "values": values_of(setting),
        "meaning": setting.meaning,
        "read_if": [condition.words for condition in spec.read_if],
        "identity": spec.identity,
        "tunable": spec.tunable,
        "written_by_tietrain": spec.written,
    }


def values_of(setting: Setting) -> str:
    """The choices or the range, in words; else the type."""
    if setting.spec.choices:
        return ", ".join(setting.spec.choices)
    return setting.spec.bounds or re.sub(r"^Optional\[(.*)\]$", r"\1", setting.annotation)


def notes_of(setting: Setting) -> list[str]:
    """What else is to be known: who reads it, and what another value does."""
    spec = setting.spec
    notes = [f"read if {' and '.join(condition.words for condition in spec.read_if)}"] if spec.read_if else []
    notes += ["another value is not another run"] if not spec.identity else []
    notes += ["a tuning list may vary it"] if spec.tunable else []
    notes += ["`tietrain eval` may change it"] if spec.at_eval else []
    notes += ["a finished run may go on with more"] if spec.budget else []
    notes += ["tietrain writes it"] if spec.written else []
    return notes


def settings_lines(name: str = "") -> list[str]:
    """One line per setting; of a single one, all that is known."""
    found = find_settings(name)
    if len(found) > 1:
        return [f"{setting.key}={written(setting.default)}  {setting.meaning}" for setting in found]
    (setting,) = found
    about = [f"  values: {values_of(setting)}", *(f"  {note}" for note in notes_of(setting))]
    return [f"{setting.key}={written(setting.default)}", f"  {setting.meaning}", *about]


def written(value: Any) -> str:
    """A value as a command line takes it."""
    return value if isinstance(value, str) else json.dumps(value).replace('"', "")
