"""What the page is about: a model, the pool to label, and the training that makes a new model of both."""

from __future__ import annotations

import threading
from pathlib import Path

from fewlabels.data import read_labels
from fewlabels.serving.classify import Answer, ServedModel
from fewlabels.serving.desk import Desk, default_labels, open_desk
from fewlabels.serving.limits import Limits
from fewlabels.serving.retraining import Retraining
from fewlabels.serving.training import train_again
from fewlabels.storage.errors import InputError


class Service:
    """Answers what the page asks; may be used by several threads at a time.

    Parameters
    ----------
    folder : Path
        Of the model.
    source : str, optional
        Where the images to label are, if not where they were when the model was fitted.
    labels : Path, optional
        The labels file; the one that the model was fitted with, or `FOLDER-labels.csv`, when not given.
    limits : Limits, optional
        See there.
    net : str, optional
        The pretrained net, where it was code of the user's own.
    progress : bool
        Show progress bars while images are read.

    Attributes
    ----------
    model : ServedModel
        What answers now.
    desk : Desk or None
        Where labels are given; None where there is nothing to label.
    reason : str
        Why there is none.

    Raises
    ------
    InputError
        If there is no model, or one of vectors, or a source or labels file was given that cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        source: str | None = None,
        labels: Path | None = None,
        limits: Limits | None = None,
        net: str | None = None,
        progress: bool = False,
    ) -> None:
        # Where a new model takes its place, the folder itself must be known, not a link to it.
        self.folder = folder.resolve()
        self.source, self.net, self.limits = source, net, limits or Limits()
        self.model = ServedModel.read(self.folder, net)
        self.desk: Desk | None = None
        self.reason = ""
        try:
            self.desk = open_desk(
                self.model,
                labels or default_labels(self.folder, self.model),
                source,
                folder=self.folder,
                progress=progress,
            )
        except (InputError, OSError) as error:
            # What was asked for must work; what is there by itself may be missing.
            if source is not None or labels is not None:
                raise
            self.reason = str(error)
            if isinstance(error, OSError) and error.filename is not None:
                self.reason = f"{error.strerror}: {error.filename}; give another labels file with --labels"
        self._ranking: threading.Thread | None = None
        self.retraining = Retraining(train_again, self._take_new)

    @property
    def title(self) -> str:
        """What to call the model."""
        return self.folder.name

    def begin(self) -> None:
        """Look through the pool, in the background."""
        if self.desk is not None:
            self._ranking = threading.Thread(target=self._look_through, args=(self.desk,), name="ranking", daemon=True)
            self._ranking.start()

    def classify(self, path: Path) -> Answer:
        """Return what the model says of an uploaded file; see `ServedModel.classify` for the errors."""
        try:
            with path.open("rb") as file:
                content = file.read(self.limits.upload_bytes + 1)
        except OSError as error:
            raise InputError("this file is not here any more; upload it again") from error
        return self.model.classify(content, self.limits)

    def train(self) -> None:
        """Begin to train the model again with the labels given so far.

        Raises
        ------
        InputError
            If a training is running, or no label was given.
        """
        if self.desk is None:
            raise InputError(self.reason)
        # What a person has written into the file meanwhile counts as well.
        if not read_labels(self.desk.path).classes:
            raise InputError("no label was given yet; the training would come to the same model")
        self.retraining.start(self.folder, self.source, self.desk.labels_to_fit(), self.net)

    def close(self) -> None:
        """End a training that runs, and close the labels file."""
        if self.desk is not None:
            self.desk.close()
        self.retraining.stop()
        # A process that ends while a thread of it computes ends in a crash.
        if self._ranking is not None:
            self._ranking.join()

    def _look_through(self, desk: Desk) -> None:
        try:
            desk.rank(self.model)
        except Exception as error:  # whatever it is, the page must say so rather than wait for images for ever
            desk.trouble = " ".join((str(error) or repr(error)).split())[:500]

    def _take_new(self) -> None:
        self.model = ServedModel.read(self.folder, self.net)
        # The model answers whatever becomes of the order.
        if self.desk is not None:
            self._look_through(self.desk)
