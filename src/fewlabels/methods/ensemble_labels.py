"""Ensemble labels: classifiers that err differently label the pool by their mean, and a fresh one learns from that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from torch import nn

from fewlabels.methods.graph import NeighborGraph
from fewlabels.methods.label_spreading import as_probabilities
from fewlabels.methods.linear import choose_penalty, fit_linear, given_features, linear_classifier, set_head
from fewlabels.methods.looks import accuracies
from fewlabels.methods.pool_quality import estimated_prior
from fewlabels.methods.prediction import predict_logits
from fewlabels.methods.prototypes import SCALE, class_sums, left_out_logits, unit
from fewlabels.methods.ranges import check_above_zero, check_whole, check_within
from fewlabels.methods.self_training import SelfTraining, top_of_each_class
from fewlabels.methods.session import Session
from fewlabels.nets import Classifier
from fewlabels.training.batches import Rows
from fewlabels.training.calibration import best_temperature

# Of a class that no label of the graph comes from, where its probabilities are calibrated.
_LEAST = 1e-6


@dataclass(kw_only=True, eq=False, repr=False)
class EnsembleLabels(SelfTraining):
    """The mean opinion of a linear probe, prototypes and a graph labels the pool; a fresh classifier learns from it.

    Three classifiers learn from the features of the labeled samples: logistic regression with a cross-validated penalty
    (see `LinearProbe`), the mean direction of each class (`Prototypes`), and labels that spread along a graph of
    near samples (`LabelSpreading`). They err in different places. Each one's calibrated probabilities of the pool are
    moved from the classes' shares among the labels, r, to those in the pool, r_k, which it estimates itself (by
    expectation and maximization, drawn back to r by `prior_shrink`):

        p_k(c | u) ~ p(c | u) r_k(c) / r(c),    z(u) = mean over k of p_k(u)

    The pool's labels are argmax z(u), and a student learns from the labeled samples and the `top_share` of each class
    that z is surest of: on features a logistic regression with the penalty `student_penalty`, weighting a pool sample
    by max z(u) and a labeled one by `labeled_weight`. In each further round the student's own opinion is the fourth.
    On images without a pretrained net the features are those of a net that has learned from the labeled samples, its
    own opinion is counted too, all are calibrated on the held-out samples, and the student is a fresh net.

    One round of labels that are the mean of several models is what helped where thresholds on one model's confidence
    do harm: on large pretrained nets, whose guesses are sure also where they are wrong.

    See `SelfTraining` for the other parameters and attributes; on features, `threshold`, `soft_labels`,
    `confidence_weights`, `labeled_share`, `ensemble` and `student_steps` are not used.

    Parameters
    ----------
    top_share : float, optional
        Share of the pool samples of each guessed class that are learned from, in (0, 1]. When not given: 1 on features;
        on images from scratch 0.8, as self-training, whose guesses are no better.
    neighbors : int
        Of each sample in the graph, at least 1.
    alpha : float
        How far labels spread there, in (0, 1).
    graph_samples : int
        With more pool samples than these no graph is made, and its opinion is left out; at least 100.
    prior_shrink : float
        How far the shares of classes in the pool are drawn back to those among the labels, in [0, 1]; 1: they are
        taken to be the same.
    student_penalty : float
        Of the student on features, > 0; see `fewlabels.methods.linear.fit_linear`.

    References
    ----------
    Zhang et al., "Revisiting semi-supervised learning in the era of foundation models", NeurIPS 2025, for labels by the
    mean of several models; Saerens, Latinne & Decaestecker, 2002, for the shares of classes.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[50:] = -1
    >>> method = EnsembleLabels(random_state=0).fit(digits.data, y)
    >>> method.score(digits.data[50:], digits.target[50:]) > 0.8
    True
    """

    _goes_on: ClassVar[bool] = False
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}

    rounds: int = 1
    ensemble: bool = False
    top_share: float | None = None  # type: ignore[assignment]
    labeled_weight: float = 3.0
    neighbors: int = 10
    alpha: float = 0.9
    graph_samples: int = 100_000
    prior_shrink: float = 0.33
    student_penalty: float = 0.2

    def _learn(self, session: Session) -> Any:
        if self.top_share is None:
            self.top_share = 1.0 if session.is_vectors else SelfTraining.top_share
        if not session.is_vectors:
            return super()._learn(session)
        network = self._empty_network(session.sample_shape, session.classes).to(session.device)
        session.start(network)
        session.monitor.stage_count = self._stage_count
        session.monitor.begin("teachers", 1)
        given = session.labeled.stored
        labels = session.labeled.labels
        features, pool = given_features(session, network, given), given_features(session, network, session.pool)
        teachers, head = self._opinions(features, labels, pool, session)
        opinions = teachers
        set_head(network, *head)
        session.learned_alone(network)
        session.monitor.conclude(accuracies(session, network))
        self._rounds_judged_ = False
        self.rounds_: list[dict[str, Any]] = []
        self.round_pseudo_labels_: list[NDArray[np.int64]] = []
        self.termination_condition_ = "max_iter" if len(session.members) else "no_change"
        self._last_pseudo_labels = np.full(len(pool), -1)
        before = None
        for number in range(1, int(self.rounds) + 1 if len(session.members) else 1):
            session.monitor.begin(f"round {number}", 1)
            mean = np.mean(opinions, axis=0)
            guesses, confidences = mean.argmax(1), mean.max(1)
            taken = top_of_each_class(confidences, guesses, self.top_share)
            taken &= np.isin(np.arange(len(pool)), session.members)
            both = np.concatenate([features, pool[taken]])
            weights = np.concatenate([np.full(len(labels), float(self.labeled_weight)), confidences[taken]])
            targets = np.concatenate([labels, guesses[taken]])
            head = fit_linear(both, targets, session.classes, self.student_penalty, weights)
            set_head(network, *head)
            opinions = [*teachers, softmax(pool @ head[0].T + head[1], axis=1)]
            self._last_pseudo_labels = np.where(taken, guesses, -1)
            self.round_pseudo_labels_.append(self._last_pseudo_labels[: session.given_pool])
            measured = accuracies(session, network)
            self.rounds_.append(
                {
                    "round": number,
                    "asked": int((session.members < session.given_pool).sum()),
                    "pool_share": round(float(taken[: session.given_pool].mean()), 4),
                    "agreement": None if before is None else float((guesses == before).mean()),
                    "threshold": float(confidences[taken].min()) if taken.any() else None,
                    "temperature": 1.0,
                    "validation_accuracy": measured.get("validation_accuracy"),
                    "accepted": True,
                }
            )
            before = guesses
            session.monitor.conclude(measured)
        self.n_iter_ = len(self.rounds_)
        return network

    def _empty_network(self, sample_shape: tuple[int, ...], classes: int) -> Classifier:
        if len(sample_shape) == 1:
            return linear_classifier(sample_shape, classes)
        return super()._empty_network(sample_shape, classes)

    def _label(self, session: Session, network: nn.Module, pool: Rows) -> tuple[NDArray[np.float64], float]:
        """Return the mean opinion on pool samples of the net and of the teachers on its features."""
        assert isinstance(network, Classifier)
        own, temperature = super()._label(session, network, pool)

        def seen_by(rows: Rows) -> NDArray[Any]:
            precision = session.recipe.precision
            found = predict_logits(network, rows, session.device, features=True, precision=precision)
            return np.asarray(unit(found) * np.sqrt(found.shape[1]))

        labels, held_out = session.labeled.labels, None
        if len(session.validation):
            # The net has learned from the labeled images: how sure it may be of these says nothing of others.
            held_out = seen_by(session.validation.stored), session.validation.labels
        features = seen_by(session.labeled.stored)
        opinions, _ = self._opinions(features, labels, seen_by(pool), session, held_out)
        return np.mean([own, *opinions], axis=0), temperature

    def _opinions(
        self,
        features: NDArray[Any],
        labels: NDArray[np.int64],
        pool: NDArray[Any],
        session: Session,
        held_out: tuple[NDArray[Any], NDArray[np.int64]] | None = None,
    ) -> tuple[list[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Return the teachers' class probabilities of each pool sample, and the probe's weights and bias.

        They are calibrated on held-out features and labels where some are given, else on labeled samples left out.
        """
        penalty, folds = choose_penalty(features, labels, session.classes, session.next_seed())
        head = fit_linear(features, labels, session.classes, penalty)
        directions, pool_directions = unit(features), unit(pool)
        sums = class_sums(directions, labels, session.classes)
        measured = None
        if held_out is None:
            cooled = 1.0 if folds is None else best_temperature(folds, labels)
            cooled_sums = best_temperature(left_out_logits(directions, labels, sums), labels)
        else:
            measured = unit(held_out[0]), held_out[1]
            cooled = best_temperature(held_out[0] @ head[0].T + head[1], held_out[1])
            cooled_sums = best_temperature(SCALE * measured[0] @ unit(sums).T, held_out[1])
        opinions = [
            softmax((pool @ head[0].T + head[1]) / cooled, axis=1),
            softmax(SCALE / cooled_sums * pool_directions @ unit(sums).T, axis=1),
        ]
        if 0 < len(pool) <= self.graph_samples:
            found = self._spread(directions, labels, pool_directions, session, measured)
            # Where no label comes the graph has no opinion.
            opinions.append(np.where(found.sum(1, keepdims=True) > 0, found, opinions[0]))
        return [self._moved(opinion, session) for opinion in opinions], head

    def _spread(
        self,
        labeled: NDArray[Any],
        labels: NDArray[np.int64],
        pool: NDArray[Any],
        session: Session,
        held_out: tuple[NDArray[Any], NDArray[np.int64]] | None,
    ) -> NDArray[np.float64]:
        """Return what labels that spread along a graph say of each pool sample: zeros where none comes."""
        measured = labeled[:0] if held_out is None else held_out[0]
        nodes = np.concatenate([labeled, measured, pool]).astype(np.float32)
        start = np.zeros((len(nodes), session.classes))
        start[np.arange(len(labels)), labels] = 1
        spread = NeighborGraph(nodes, int(self.neighbors)).spread(start, self.alpha)
        # Each class has the same to give: labels of a class whose samples have many neighbors would run everywhere.
        level = spread / np.maximum(spread.sum(0), np.finfo(float).tiny)
        found = as_probabilities(level[len(labels) :])
        if held_out is None:
            return found
        logits = np.log(np.maximum(found, _LEAST))
        reached = found.sum(1) > 0
        known = np.flatnonzero(reached[: len(measured)])
        cooled = best_temperature(logits[known], held_out[1][known])
        return np.where(reached[:, np.newaxis], softmax(logits / cooled, axis=1), 0.0)[len(measured) :]

    def _moved(self, probabilities: NDArray[np.float64], session: Session) -> NDArray[np.float64]:
        """Return probabilities of pool samples as they are with the shares of classes that the pool seems to have."""
        counts = session.class_counts()
        if not len(probabilities) or not counts.all():
            return probabilities
        learned = counts / counts.sum()
        if session.quality is not None:
            shares = session.quality.prior
        else:
            shares = estimated_prior(probabilities, learned, shrink=self.prior_shrink)
        return as_probabilities(probabilities * (shares / learned))

    def _check_settings(self) -> None:
        super()._check_settings()
        check_whole(self, 1, "neighbors")
        check_whole(self, 100, "graph_samples")
        check_within(self, "(0, 1)", "alpha")
        check_above_zero(self, "student_penalty")
        check_within(self, "[0, 1]", "prior_shrink")
