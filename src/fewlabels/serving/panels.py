"""The parts of the page that are written anew with each answer, as HTML; names from anywhere are escaped."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment

from fewlabels.serving.classify import Answer, ServedModel
from fewlabels.serving.label_queue import LabelQueue
from fewlabels.serving.pictures import data_address
from fewlabels.serving.retraining import Progress
from fewlabels.storage.page_templates import page_templates
from fewlabels.storage.visible import visible
from fewlabels.storage.wording import counted, enumeration, were

_SHOWN_CLASSES = 8
# Of images from where the labeled ones come from, so large a share is less like them.
_STRANGE = 0.05
_NAMED_CLASSES = 3
_turns = itertools.count()


@dataclass(frozen=True)
class Shown:
    """An image on the page: what it is called, and where the browser finds it."""

    name: str
    picture: str

    @property
    def title(self) -> str:
        """What a person reads: without the folders, which may tell the class."""
        return self.name.rpartition("/")[2]


def about_panel(model: ServedModel | None, title: str) -> str:
    """Return what the model is, or that there is none yet."""
    if model is None:
        return _rendered("about", title=title, method=None)
    method = model.method
    accuracy = method.validation_accuracy_
    return _rendered(
        "about",
        title=title,
        method=type(method).__name__,
        classes=model.class_names,
        accuracy=None if accuracy != accuracy else accuracy,
        held_out=counted(method.n_validation_, "held-out image"),
    )


def answer_panel(answer: Answer) -> str:
    """Return what a model says of an image."""
    return _rendered(
        "answer",
        classes=answer.classes,
        prediction_set=answer.prediction_set,
        sentence=set_sentence(answer),
        strange=answer.in_distribution is not None and answer.in_distribution < _STRANGE,
        neighbors=answer.neighbors,
        seen=answer.seen,
        shown=_SHOWN_CLASSES,
        rest=sum(probability for _, probability in answer.classes[_SHOWN_CLASSES:]),
    )


def set_sentence(answer: Answer) -> str:
    """Return what a prediction set promises, in plain words.

    Examples
    --------
    >>> from numpy import zeros
    >>> answer = Answer((("cat", 0.6), ("dog", 0.3), ("cow", 0.1)), ("cat", "dog"), 0.9, 40, (), None, zeros((8, 8, 3)))
    >>> print(set_sentence(answer))
    Likely cat or dog. The classes named here hold the right one for 9 of 10 images, going by 40 held-out ones.
    """
    names, tenths = answer.prediction_set, f"{10 * answer.coverage:.3g}"
    if not names:
        return (
            f"What to rely on cannot be said: {were(answer.held_out, 'labeled image')} held out to measure by, too few "
            "for that."
        )
    if len(names) == len(answer.classes):
        return (
            f"It may be any of the classes: none can be ruled out and the right one be named for {tenths} of 10 images."
        )
    listed = enumeration(list(names), last="or")
    lacking = enumeration(list(answer.unmeasured), last="or", most=_NAMED_CLASSES) if answer.unmeasured else ""
    return (
        f"Likely {listed}. The classes named here hold the right one for {tenths} of 10 images, going by "
        f"{answer.held_out:,} held-out ones{f', none of which is {lacking}' if lacking else ''}."
    )


def label_panel(
    queue: LabelQueue,
    batch: Sequence[Shown],
    *,
    ranked: bool = True,
    trouble: str = "",
    last: tuple[str, str | None] | None = None,
    note: str = "",
) -> str:
    """Return the image to label, those that come next, and how many labels there are.

    Parameters
    ----------
    queue : LabelQueue
        Where they come from.
    batch : sequence of Shown
        The image to label, and those after it.
    ranked : bool
        Whether the pool has been looked through.
    trouble : str
        Why it could not be.
    last : tuple of (str, str or None), optional
        Image and class of the label that was just saved; None where it was taken back.
    note : str
        What to say first, such as what went wrong.
    """
    refused = bool(note)
    if trouble and ranked:
        note = note or f"The pool could not be looked through anew: {trouble}. Its images come in the order of before."
    if trouble and not ranked:
        empty = f"The pool could not be looked through: {trouble}. Start the server again once that is put right."
    elif not ranked:
        empty = "The pool is being looked through for the images whose labels help most."
    elif queue.left == 0:
        empty = "Every image of the pool has a label."
    else:
        empty = "All images that are left are on other people's pages; reload this one in a few minutes."
    return _rendered(
        "label",
        # Tells one answer from the next, which may be the same.
        turn=next(_turns),
        refused=refused,
        current=batch[0] if batch else None,
        ahead=batch[1:],
        labeled=queue.labeled,
        left=queue.left,
        counts=queue.counts(),
        last=None if last is None else {"title": Shown(last[0], "").title, "label": last[1]},
        note=note,
        empty=empty,
    )


def training_panel(now: Progress, note: str = "", *, has_model: bool = True) -> str:
    """Return how far a training is; `has_model`: one that answers meanwhile."""
    return _rendered("training", now=now, note=note, has_model=has_model)


def note_panel(note: str) -> str:
    """Return one sentence, such as what went wrong."""
    return _rendered("note", note=note)


def _rendered(template: str, **values: Any) -> str:
    return _templates().get_template(f"{template}.html.j2").render(**values)


@functools.cache
def _templates() -> Environment:
    return page_templates(
        "fewlabels.serving",
        _shown,
        percent=_percent,
        number=lambda value: f"{value:,}",
        time=_time,
        address=data_address,
    )


def _shown(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and type(value) is str else value


def _percent(share: float) -> str:
    # What rounds to certainty is not certain.
    if 0.999 <= share < 1:
        return "> 99.9 %"
    return "< 0.1 %" if 0 < share < 0.001 else f"{100 * share:.1f} %"


def _time(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"
