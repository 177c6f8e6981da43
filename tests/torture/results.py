"""What two runs of the same bytes have in common: weights, optimizer, losses, scores, texts and points of TensorBoard."""

from pathlib import Path

from safetensors import safe_open
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from tietrain.runs import record as runs
from tietrain.runs.durable import is_whole
from tietrain.runs.metrics import read_metrics
from tiny_run import WALL_CLOCK, reproducible


def result(directory: Path) -> dict[str, object]:
    """Part -> everything of it that an uninterrupted run has in the same bits; only wall-clock columns are left out."""
    checkpoints = directory / runs.CHECKPOINTS
    evaluation = runs.read_json(directory / runs.EVAL)
    evaluation["splits"] = {name: reproducible([scores])[0] for name, scores in evaluation["splits"].items()}
    texts = [directory / runs.DOCUMENTS, *directory.glob("*.txt")]
    whole = sorted(path for path in checkpoints.iterdir() if is_whole(path))
    # The newest but one has the step of a signal, where one came there.
    before = whole_steps(directory)[:-1]
    return {
        "status": runs.read_record(directory).status,
        "tensors": {
            f"{path.relative_to(checkpoints)} {name}": value
            for folder in whole
            if folder.name not in before
            for path in sorted(folder.glob("*.safetensors"))
            for name, value in tensors(path).items()
        },
        "logged rows": reproducible(read_metrics(directory)),
        "scores": reproducible([evaluation])[0],
        "texts": {path.name: path.read_bytes() for path in texts},
        "points of TensorBoard": points(directory / runs.TENSORBOARD),
        "kept": [path.name for path in whole if path.name not in before] + [f"{len(before)} steps before"],
        "left": sorted(path.name for path in directory.glob("*.tmp")),
    }


def tensors(path: Path) -> dict[str, tuple]:
    """Name -> type, shape and bytes of every tensor of a file."""
    with safe_open(path, framework="np") as f:
        found = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
    return {name: (str(value.dtype), value.shape, value.tobytes()) for name, value in found.items()}


def points(folder: Path) -> list[tuple[str, int, float]]:
    """Tag, step and value of every point, in the order of the files."""
    # A damage may have put a folder in a file's place.
    files = sorted(path for path in folder.iterdir() if path.is_file())
    events = (event for path in files for event in LegacyEventFileLoader(str(path)).Load())
    values = [(value, event.step) for event in events for value in event.summary.value]
    return [
        (value.tag, step, value.simple_value)
        for value, step in values
        if value.HasField("simple_value") and not any(mark in value.tag for mark in WALL_CLOCK)
    ]


def differences(found: dict[str, object], wanted: dict[str, object]) -> list[str]:
    """The parts in which two results differ."""
    return [key for key in wanted if found[key] != wanted[key]]


def difference(found: dict[str, object], wanted: dict[str, object]) -> str:
    """The parts in which two results differ, in words; empty where they are one."""
    parts = differences(found, wanted)
    return f"{', '.join(parts)} differ" if parts else ""


def whole_steps(directory: Path) -> list[str]:
    """Names of the step checkpoints that are whole."""
    found = (directory / runs.CHECKPOINTS).glob("step_*[0-9]")
    return sorted(path.name for path in found if is_whole(path))
