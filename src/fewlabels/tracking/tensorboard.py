"""TensorBoard: event files in a folder; TensorFlow is not needed."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from fewlabels.storage.atomic import located
from fewlabels.storage.errors import InputError
from fewlabels.tracking.tracker import FAILED, FINISHED, Entry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = "tensorboard"
_EVENTS = "events.out.tfevents.*"
_FLUSH_SECONDS = 5
_P = ParamSpec("_P")
_R = TypeVar("_R")


def _naming_its_folder(
    call: Callable[Concatenate[TensorBoard, _P], _R],
) -> Callable[Concatenate[TensorBoard, _P], _R]:
    """Have an error of the system name the folder, which the writer's own do not."""

    @functools.wraps(call)
    def named(board: TensorBoard, /, *words: _P.args, **options: _P.kwargs) -> _R:
        try:
            return call(board, *words, **options)
        except OSError as error:
            raise located(error, Path(board.run)) from error

    return named


@functools.cache
def _quiet_writers() -> None:
    """Keep a writer's thread from printing a traceback of what ends it: the next call raises that, and tells it."""
    before = threading.excepthook

    def hook(ended: threading.ExceptHookArgs) -> None:
        if not type(ended.thread).__module__.startswith("tensorboard."):
            before(ended)

    threading.excepthook = hook


def check() -> None:
    """Refuse to begin where TensorBoard is not installed."""
    try:
        import tensorboard  # noqa: F401
        from torch.utils.tensorboard import SummaryWriter  # noqa: F401
    except ImportError as error:
        raise InputError(
            "--track tensorboard needs a package that is not installed: pip install 'fewlabels[tensorboard]'"
        ) from error


def events_folder(folder: Path, name: str) -> Path:
    """Return where the events of a run lie.

    Examples
    --------
    >>> events_folder(Path("runs/photos"), "uda-10-0").as_posix()
    'runs/photos/tensorboard/uda-10-0'
    """
    return folder / FOLDER / name


class TensorBoard:
    """Writes event files to `FOLDER/tensorboard/NAME`.

    Parameters
    ----------
    entry : Entry
        An earlier run of the same name and folder is replaced, if this one does not go on with it.
    """

    @_naming_its_folder
    def __init__(self, entry: Entry) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = events_folder(entry.folder, entry.name)
        self.run = str(self._folder)
        self.stored: dict[str, int] = {}
        if entry.resumed:
            self.stored = _last_steps(self._folder)
            _wait_for_a_later_name(self._folder)
        else:
            for path in self._folder.glob(_EVENTS):
                path.unlink()
        _quiet_writers()
        self._writer: Any = SummaryWriter(str(self._folder), flush_secs=_FLUSH_SECONDS)
        if entry.settings:
            self._describe(entry)

    @_naming_its_folder
    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Keep finite numbers by name."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    @_naming_its_folder
    def take_back(self, step: int) -> None:
        """Tell readers to forget this step and later ones, as after a restart."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        self._writer.file_writer.add_event(Event(session_log=SessionLog(status=SessionLog.START)), step)

    @_naming_its_folder
    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Keep a picture."""
        import numpy as np
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def file(self, path: Path) -> None:
        """Do nothing: event files hold no other files."""

    @_naming_its_folder
    def end(self, status: str) -> None:
        """Close the files, and say how the run ended where TensorBoard shows hyper-parameters."""
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import api_pb2, metadata
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

        statuses = {FINISHED: api_pb2.STATUS_SUCCESS, FAILED: api_pb2.STATUS_FAILURE}
        ended = SessionEndInfo(status=statuses.get(status, api_pb2.STATUS_UNKNOWN), end_time_secs=time.time())
        value = Summary.Value(
            tag=metadata.SESSION_END_INFO_TAG,
            metadata=metadata.create_summary_metadata(HParamsPluginData(session_end_info=ended)),
            tensor=metadata.NULL_TENSOR,
        )
        self._add(Summary(value=[value]))
        self._writer.close()

    def _describe(self, entry: Entry) -> None:
        from tensorboard.plugins.hparams import summary_v2

        values = {**entry.facts, **entry.settings}
        known = {
            name: value if isinstance(value, str | int | float | bool) else str(value) for name, value in values.items()
        }
        self._add(summary_v2.hparams_pb(known, trial_id=entry.name))

    def _add(self, summary: Any) -> None:
        # PyTorch's writer builds upon this one, whose summaries need no step.
        self._writer.file_writer.add_summary(summary)


def _wait_for_a_later_name(folder: Path) -> None:
    # Readers take the files of a folder in the order of their names. These begin with the second the file was
    # begun in, and what follows is in no order: two files of one second may be read the later one first.
    begun = [path.name.split(".")[3] for path in folder.glob(_EVENTS)]
    newest = max((int(second) for second in begun if second.isdecimal()), default=0)
    while int(time.time()) == newest:
        time.sleep(0.02)


def _last_steps(folder: Path) -> dict[str, int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, int] = {}
    if not any(folder.glob(_EVENTS)):
        return found
    # A process that was killed leaves half a record at the end; the reader stops before it.
    with contextlib.suppress(OSError):
        events = EventAccumulator(str(folder)).Reload()
        tags = events.Tags()
        found |= {tag: events.Scalars(tag)[-1].step for tag in tags["scalars"]}
        found |= {tag: events.Images(tag)[-1].step for tag in tags["images"]}
    return found
