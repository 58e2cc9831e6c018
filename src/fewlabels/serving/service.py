"""What the page is about: a model, the pool to label, and the training that makes a new model of both."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from fewlabels.data import read_labels
from fewlabels.serving.classify import Answer, ServedModel
from fewlabels.serving.desk import Desk, NothingToLabel, default_labels, open_desk, open_first_desk
from fewlabels.serving.limits import Limits
from fewlabels.serving.retraining import Retraining
from fewlabels.serving.training import FIRST_BUDGET, begins, first_method, train
from fewlabels.serving.trouble import in_words
from fewlabels.storage.errors import InputError

NO_MODEL = "there is no model yet: label a few images of each class, then train"


class Service:
    """Answers what the page asks; may be used by several threads at a time.

    Parameters
    ----------
    folder : Path
        Of the model; where there is none yet, and a source is given, of the first one, which the labels make.
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
    classes : sequence of str
        What the images may be of, beside the classes that source, model and labels file know.
    budget : str, optional
        Of the first model's training; two minutes when not given.

    Attributes
    ----------
    model : ServedModel or None
        What answers now; None before the first training.
    desk : Desk or None
        Where labels are given; None where there is nothing to label.
    reason : str
        Why there is none.
    broke_off : bool
        Whether a training ran when all was closed, which is lost.

    Raises
    ------
    InputError
        If there is no model and no source, or a model of vectors, or a source, labels file, class or budget was given
        that cannot be used.
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
        classes: Sequence[str] = (),
        budget: str | None = None,
    ) -> None:
        # Where a new model takes its place, the folder itself must be known, not a link to it.
        self.folder = folder.resolve()
        self.source, self.net, self.limits, self.budget = source, net, limits or Limits(), budget or FIRST_BUDGET
        self.model: ServedModel | None = None
        self.desk: Desk | None = None
        self.reason = ""
        self.broke_off = False
        self._ranking: threading.Thread | None = None
        self.retraining = Retraining(train, self._take_new)
        if source is not None and begins(self.folder, source):
            first_method(net, self.budget).check_settings()
            file = labels or default_labels(self.folder, None)
            try:
                self.desk = open_first_desk(source, classes, file, folder=self.folder, net=net, progress=progress)
            except OSError as error:
                raise InputError(_why(error)) from error
            return
        self.model = ServedModel.read(self.folder, net)
        try:
            self.desk = open_desk(
                self.model,
                labels or default_labels(self.folder, self.model),
                source,
                folder=self.folder,
                classes=classes,
                progress=progress,
            )
        except (InputError, OSError) as error:
            # What was asked for must work; what is there by itself may be missing, and what is done is done.
            self.reason = _why(error)
            if not isinstance(error, NothingToLabel) and (source is not None or labels is not None or classes):
                raise InputError(self.reason) from error

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
        if self.model is None:
            raise InputError(NO_MODEL)
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
        if self.model is not None and not read_labels(self.desk.path).classes:
            raise InputError("no label was given yet; the training would come to the same model")
        if self.model is None and len(self.desk.known_classes()) < 2:
            raise InputError("label images of two classes at least, some of each; then there is something to learn")
        self.retraining.start(self.folder, self.source, self.desk.labels_to_fit(), self.net, self.budget)

    def close(self) -> None:
        """End a training that runs, and close the labels file."""
        self.broke_off = self.retraining.progress().state == "running"
        if self.desk is not None:
            self.desk.close()
        self.retraining.stop()
        # A process that ends while a thread of it computes ends in a crash.
        if self._ranking is not None:
            self._ranking.join()

    def _look_through(self, desk: Desk) -> None:
        try:
            if self.model is None:
                desk.rank_first(self.net)
            else:
                desk.rank(self.model)
        except Exception as error:  # whatever it is, the page must say so rather than wait for images for ever
            desk.trouble = in_words(error)

    def _take_new(self) -> None:
        self.model = ServedModel.read(self.folder, self.net)
        # The model answers whatever becomes of the order.
        if self.desk is not None:
            self._look_through(self.desk)


def _why(error: InputError | OSError) -> str:
    """Return why there is nothing to label, and where the labels file cannot be opened, what to do."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}; give another labels file with --labels"
    return str(error)
