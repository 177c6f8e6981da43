"""TensorBoard's event files, written without torch; TensorBoard shows each folder as one run."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as charts_metadata
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

# TensorBoard reads files whose names begin like this.
NAME = "events.out.tfevents."
OURS = f"{NAME}*.tietrain"
# Step axes hold one 64-bit integer; FLOPs are counted in millions.
FLOPS_A_STEP = 1_000_000


class EventFile:
    """The event file of a folder; an existing one is continued.

    It is open only while a record is written, in the caller's thread: SummaryWriter's own thread prints a traceback if
    the disk is full.

    Args:
        origin: wall clock at second 0, in seconds since 1970.
    """

    def __init__(self, folder: Path, origin: float):
        self._origin = origin
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(path for path in folder.glob(OURS) if not path.is_dir())
        self._path = found[0] if found else folder / f"{NAME}{time.time():.0f}.tietrain"
        if not found:
            self._write(0.0, file_version="brain.Event:2")
            # An open page forgets what an earlier file of this folder held.
            self._write(0.0, step=0, session_log=SessionLog(status=SessionLog.START))

    def scalar(self, tag: str, value: float, step: int, seconds: float = 0.0) -> None:
        """Add a point."""
        self._write(seconds, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))

    def text(self, tag: str, markdown: str, step: int = 0, seconds: float = 0.0) -> None:
        """Add a text."""
        self._write(seconds, step=step, summary=text_pb(tag, markdown))

    def charts(self, category: str, charts: Mapping[str, Sequence[str]]) -> None:
        """Lay out a category of Custom Scalars: title of each chart -> regular expressions for the tags of its lines."""
        drawn = [
            layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=tags))
            for title, tags in charts.items()
        ]
        layout = layout_pb2.Layout(category=[layout_pb2.Category(title=category, chart=drawn)])
        value = Summary.Value(
            tag=charts_metadata.CONFIG_SUMMARY_TAG,
            metadata=charts_metadata.create_summary_metadata(),
            tensor=TensorProto(dtype="DT_STRING", string_val=[layout.SerializeToString()]),
        )
        self._write(0.0, summary=Summary(value=[value]))

    def table_row(self, name: str, settings: Mapping[str, Any], first: Sequence[str], metrics: Sequence[str]) -> None:
        """Add this run's row to the HParams table, whose columns are those of all runs.

        Args:
            name: of the row. settings: column -> bool, number or text; None leaves the cell empty, for a text beside
                numbers is an error of the page. first: columns that come before the others.
            metrics: tags of scalars of this run that are also columns.
        """
        infos = [api_pb2.HParamInfo(name=column, differs=column in first) for column in settings]
        shown = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in metrics]
        table = plugin_data_pb2.HParamsPluginData(experiment=api_pb2.Experiment(hparam_infos=infos, metric_infos=shown))
        value = Summary.Value(
            tag=hparams_metadata.EXPERIMENT_TAG,
            metadata=hparams_metadata.create_summary_metadata(table),
            tensor=hparams_metadata.NULL_TENSOR,
        )
        self._write(0.0, summary=Summary(value=[value]))
        cells = {column: value for column, value in settings.items() if value is not None}
        self._write(0.0, summary=hparams_pb(cells, trial_id=name, start_time_secs=self._origin))

    def _write(self, seconds: float, **content: Any) -> None:
        with open(self._path, "ab") as file:
            RecordWriter(file).write(Event(wall_time=self._origin + seconds, **content).SerializeToString())


def clear_events(folder: Path) -> None:
    """Delete the event files that tietrain wrote in a folder and below; OSError if the system refuses."""
    for path in folder.rglob(OURS):
        if path.is_symlink() or not path.is_dir():  # a folder of that name is not ours
            path.unlink()


def verbatim(lines: Sequence[str]) -> str:
    """Lines as Markdown that shows them as they are."""
    return "\n".join(f"    {line}" for line in lines)
