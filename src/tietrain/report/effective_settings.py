"""Which of a run's settings it used: those of another task, corpus, search, optimizer or schedule had no effect."""

import json
from typing import Any

from tietrain.config.keys import is_read
from tietrain.runs.view import Run, Scalar


def used_settings(run: Run) -> dict[str, Scalar]:
    """Full key -> value; without hardware.*, because the record of the machine says what was used."""
    flat = {key: _value(recorded) for key, recorded in run.settings.items()} | {"task.name": run.task}
    return {k: v for k, v in run.settings.items() if is_read(k, flat) and not k.startswith("hardware.")}


def _value(recorded: Scalar) -> Any:
    """A setting as the configuration has it: lists and empty mappings are recorded as their JSON text."""
    if isinstance(recorded, str) and recorded[:1] in ("[", "{"):
        try:
            return json.loads(recorded)
        except ValueError:
            return recorded
    return recorded
