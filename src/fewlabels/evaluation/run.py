"""One method trained once: what it was, what it reached, and what there is to show of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewlabels.evaluation.feature_sample import FeatureSample
from fewlabels.evaluation.pool_sample import PoolSample
from fewlabels.evaluation.trust import Trust

# Of the results table, a row a run; each is an attribute of it.
COLUMNS = (
    "method",
    "labels_per_class",
    "seed",
    "train_accuracy",
    "validation_accuracy",
    "test_accuracy",
    "test_low",
    "test_high",
    "fit_seconds",
    "gradient_images",
    "parameters",
)


@dataclass(frozen=True)
class Mistake:
    """A test image that was classified wrongly.

    Attributes
    ----------
    index : int
        Row of the test images.
    truth, guess : int
        Class indices.
    confidence : float
        Probability that was given to the guess.
    image : ndarray of uint8, shape (height, width, channels)
    """

    index: int
    truth: int
    guess: int
    confidence: float
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class Reconstructions:
    """What an autoencoder makes of a few test images.

    Attributes
    ----------
    originals, reconstructed : ndarray of uint8, shape (n, height, width, channels)
    error : float
        Mean squared error over all test images, in units of the [0, 1] range.
    """

    originals: NDArray[np.uint8]
    reconstructed: NDArray[np.uint8]
    error: float


@dataclass(frozen=True)
class Run:
    """One method, number of labels and seed.

    Attributes
    ----------
    method : str
        A key of `fewlabels.methods.METHODS`.
    labels_per_class : int or None
        As asked for; None: as the source gives them.
    seed : int
        Of the draw of labels and of the training.
    train_accuracy, validation_accuracy, test_accuracy : float
        On the labeled images learned from, those held out, and the test images; NaN where there are none.
    test_low, test_high : float
        95 % interval of the test accuracy.
    fit_seconds : float
        Duration of the training.
    gradient_images : int
        Images that went forward and backward.
    parameters : int
        Number of parameters of the classifier.
    settings : dict
        Hyper-parameters, presets applied.
    architecture : str
        The net as text.
    history : list of dict
        Events of the training; at some, `pool_accuracy`, the share of guesses for pool images that were right then.
    rounds : list of dict
        Of self-training, with `precision` and `recall` of the pseudo-labels (None: truth unknown), and `checked`, the
        share of the pseudo-labels given whose truth is known.
    stage_steps : dict
        Optimizer steps of each stage.
    balanced_accuracy : float
        Mean of the test accuracies of the classes.
    test_probabilities : ndarray of shape (n_test, n_classes)
    test_labels : ndarray of shape (n_test,)
    trust : Trust or None
        How far the probabilities of the test images can be trusted.
    weights : list of dict
        The weights that the training left: `name`, `step`, `validation_accuracy`, `test_accuracy`, `used`. Which are
        used was fixed before any of them met a test image.
    choices : list of dict
        What the fit chose and what each choice looked at, see `fewlabels.methods.choices`.
    tried : list of dict
        Hyper-parameters that were chosen among: `settings`, `validation_accuracy`, `used`, and what each training took:
        `fit_seconds`, `gradient_images`, `energy_joules`.
    findings : list of str
        What the fit found out about its pool, see `fewlabels.methods.findings`.
    held_back : bool
        Whether the guard let it learn from the labels alone, see `fewlabels.methods.guard`.
    labels_alone : bool
        Whether a method that may learn from the pool chose one that does not, as `Auto` does.
    fell_back : bool
        Whether the guard took a net of the labels alone in place of the method's own.
    fell_back_pretrained : bool
        Whether the encoder of that net had learned from the pool before.
    mistakes : list of Mistake
        Those of highest confidence first.
    reconstructions : Reconstructions or None
        Of autoencoders.
    pool_sample : PoolSample or None
        What the model says of some pool images; None where there is no pool.
    feature_sample : FeatureSample or None
        The net's features of some test and pool images.
    energy_joules : float
        Energy of the machine while it trained; NaN where the platform does not tell.
    labels_given : int
        How many labels a file gave beside those of `labels_per_class`.
    """

    method: str
    labels_per_class: int | None
    seed: int
    train_accuracy: float
    validation_accuracy: float
    test_accuracy: float
    test_low: float
    test_high: float
    fit_seconds: float
    gradient_images: int
    parameters: int
    test_probabilities: NDArray[np.float64]
    test_labels: NDArray[np.int64]
    balanced_accuracy: float = math.nan
    settings: dict[str, Any] = field(default_factory=dict)
    architecture: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    stage_steps: dict[str, int] = field(default_factory=dict)
    trust: Trust | None = None
    weights: list[dict[str, Any]] = field(default_factory=list)
    choices: list[dict[str, str]] = field(default_factory=list)
    tried: list[dict[str, Any]] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    held_back: bool = False
    labels_alone: bool = False
    fell_back: bool = False
    fell_back_pretrained: bool = False
    mistakes: list[Mistake] = field(default_factory=list)
    reconstructions: Reconstructions | None = None
    pool_sample: PoolSample | None = None
    feature_sample: FeatureSample | None = None
    energy_joules: float = math.nan
    labels_given: int = 0

    @property
    def guesses(self) -> NDArray[np.int64]:
        """Most probable class of each test image."""
        return np.asarray(self.test_probabilities.argmax(1), np.int64)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each test image was classified rightly."""
        return np.asarray(self.guesses == self.test_labels)

    @property
    def trainings(self) -> int:
        """How many trainings it took: one for each combination of hyper-parameters that was tried."""
        return len(self._costs) or 1

    def spent(self, what: str) -> float:
        """Return `fit_seconds`, `gradient_images` or `energy_joules` of all its trainings."""
        if not self._costs:
            return float(getattr(self, what))
        # A record has no NaN.
        return sum(math.nan if row[what] is None else float(row[what]) for row in self._costs)

    @property
    def _costs(self) -> list[dict[str, Any]]:
        # Records of before do not tell what was spent on those that were not taken.
        return [row for row in self.tried if "fit_seconds" in row]

    def row(self) -> dict[str, Any]:
        """Return the run's row of the results table; NaN where there is nothing to measure."""
        return {column: getattr(self, column) for column in COLUMNS}

    def trust_row(self) -> dict[str, Any]:
        """Return balanced accuracy, calibration error and Brier score, for a table."""
        trust = self.trust
        return {
            "balanced_accuracy": self.balanced_accuracy,
            "calibration_error": math.nan if trust is None else trust.calibration_error,
            "brier_score": math.nan if trust is None else trust.brier_score,
        }

    def on_test(self) -> dict[str, Any]:
        """Return its figures on the test images, named as `fewlabels.evaluation.evaluate_model` names them."""
        return {
            "test_accuracy": self.test_accuracy,
            "test_low": self.test_low,
            "test_high": self.test_high,
            "balanced_accuracy": self.balanced_accuracy,
            "test_images": len(self.test_labels),
            "trust": {} if self.trust is None else self.trust.to_dict(),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the row and all that fits in JSON beside it; images and probabilities are left out."""
        return self.row() | {
            "labels_given": self.labels_given,
            "balanced_accuracy": self.balanced_accuracy,
            "energy_joules": self.energy_joules,
            "reconstruction_error": None if self.reconstructions is None else self.reconstructions.error,
            "stage_steps": self.stage_steps,
            "rounds": self.rounds,
            "trust": None if self.trust is None else self.trust.to_dict(),
            "weights": self.weights,
            "choices": self.choices,
            "tried": self.tried,
            "findings": self.findings,
            "held_back": self.held_back,
            "labels_alone": self.labels_alone,
            "fell_back": self.fell_back,
            "fell_back_pretrained": self.fell_back_pretrained,
            "mistakes": [
                {"index": m.index, "truth": m.truth, "guess": m.guess, "confidence": m.confidence}
                for m in self.mistakes
            ],
            "settings": self.settings,
        }
