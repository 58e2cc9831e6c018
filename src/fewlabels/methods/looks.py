"""What is looked at while a net is trained: accuracies, and the classes that pool samples are guessed to be of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from fewlabels.methods.training_set import looked_at
from fewlabels.nets import Classifier
from fewlabels.training.batches import Rows
from fewlabels.training.watch import GUESSED, POOL_GUESSES

if TYPE_CHECKING:
    from fewlabels.methods.session import Session


def accuracies(session: Session, classifier: Classifier) -> dict[str, float]:
    """Return accuracy on some of the training and of the validation samples, and how many classes are guessed."""
    found, guessed = {}, set()
    for name, part in (("train_accuracy", session.labeled), ("validation_accuracy", session.validation)):
        some = looked_at(len(part))
        samples, targets = part.samples[some].cpu().numpy(), part.targets[some].cpu().numpy()
        if len(targets):
            guesses = session.logits(classifier, Rows([samples]), flip=False).argmax(1)
            found[name] = float((guesses == targets).mean())
            guessed |= set(guesses.tolist())
    return found | {GUESSED: len(guessed)}


def watched_rows(session: Session) -> NDArray[np.int64]:
    """Rows of the given pool whose classes are asked for on the way; none of a pool that is read in blocks."""
    return looked_at(session.given_pool if session.watches_pool and session.pool.windows is None else 0)


def look(session: Session, classifier: Classifier) -> dict[str, Any]:
    """Return `accuracies`, and the classes that some pool samples are guessed to be of where those are watched."""
    found: dict[str, Any] = dict(accuracies(session, classifier))
    if len(rows := watched_rows(session)):
        samples = session.pool.take(rows, torch.device("cpu")).numpy()
        found[POOL_GUESSES] = session.logits(classifier, Rows([samples]), flip=False).argmax(1).tolist()
    return found
