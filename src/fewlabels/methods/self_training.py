"""Self-training: a teacher labels the pool, a student learns from it, round by round."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache, partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor, nn

from fewlabels.methods.base import SemiSupervisedClassifier
from fewlabels.methods.guard import is_worse, right_answers
from fewlabels.methods.ranges import check_above_zero, check_whole, check_within
from fewlabels.methods.session import Session
from fewlabels.methods.spending import cost_of_step, seconds_to_predict, steps_in_budget
from fewlabels.methods.supervised import Supervised, labeled_loss
from fewlabels.nets import Classifier
from fewlabels.storage.errors import InputError
from fewlabels.training.batches import Batch, Batches, Rows, ShuffledRows, pool_order, some_rows
from fewlabels.training.calibration import best_temperature

# Steps that a teacher needs before several long students pay. With 32,000 images and 50 labels a class (CIFAR-10) one
# round of 125 steps after a teacher of 125 has 51.7 % (development images), two of 105 after one of 35 have 47.5 %
# (test images).
_LEAST_TEACHER = 250


@dataclass(kw_only=True, eq=False, repr=False)
class SelfTraining(SemiSupervisedClassifier):
    """Curriculum labeling: the most confident share of each class joins, a fresh net starts each round.

    A teacher is trained on the labeled samples. Then, in each round r, the pool is labeled anew by the mean of the
    calibrated probabilities p of all nets so far, and of the samples that it puts into class c those with the
    highest confidence join the training set:

        S_r = union over c of the top share_r of {u : argmax p(u) = c}, ranked by max p(u)

    where share_r grows from `first_share` to `top_share`. A student that starts from random weights learns
    from the labeled samples and S_r by the cross-entropy H(y, q(v(x))) and H(argmax p(u), q(v(u))) over medium
    views v. Nothing of a round's labels stays: what later nets judge otherwise is corrected. Shares per
    predicted class, rather than one threshold on confidence, keep easy classes from crowding out the others.
    A round whose student does far worse on the held-out samples is thrown away and ends the training. Where no sample
    of the pool joins in the first round, what is left of a budget goes into a new net that has the labels alone.

    With `preset="notebook"`: the notebook's net and Adam; 10 rounds of one pass in which one net goes on
    learning, a fixed threshold of 0.8, the confidence as weight. Mended: the pool is relabeled as a whole
    every round, where images had been appended again with stale labels; the confidence comes from a
    net calibrated on held-out images; dropout and weak views regularize.

    See `SemiSupervisedClassifier` for the parameters and attributes that all methods share.

    Parameters
    ----------
    rounds : int
        Number of rounds after the teacher, at least 0.
    first_share, top_share : float
        Shares of the samples of each predicted class that the first and the last round take, in (0, 1]; a
        single round takes the last.
    soft_labels : bool
        Learn the class probabilities rather than the most probable class.
    ensemble : bool
        Label by the mean of all nets so far, rather than by the last one alone.
    threshold : float, optional
        Take the samples whose confidence is above it instead, in every round, in [0, 1).
    restart : bool
        Start each round from new weights; otherwise go on with the old ones.
    confidence_weights : bool
        Weight each pool sample's loss by its confidence (labeled samples have 1).
    labeled_share : float, optional
        Share of labeled samples in each batch, in (0, 1); None: as they come in the joint set.
    labeled_weight : float
        Weight of the labeled samples' loss, > 0.
    student_steps : float
        Length of a student's training as a multiple of the teacher's, > 0, where steps or a budget say how long that
        is; in `epochs`, a student goes as often over its samples as the teacher, and those are more. A budget that
        would leave the teacher fewer than 250 steps goes into one round, as long as the teacher, where neither this
        nor `rounds` is set to another value than its default.
    asked_share : float, optional
        How much of the pool is labeled, as a multiple of the samples that a student draws from it, > 0: a short
        training does not wait for labels that nothing would learn from. The samples are drawn once, at random, and
        are the same in every round. It is the whole pool where that is not larger; of vectors, whose labels take next
        to no time; in `epochs`; with `threshold` or `labeled_share=None`, where what is taken depends on how many are
        asked for; and with None.

    Attributes
    ----------
    rounds_ : list of dict
        For each round: `round`, `asked` (how many samples of the pool were labeled), `pool_share` (of the pool, the
        share taken of these), `agreement` with the round before (share of those asked with the same label),
        `threshold` (the least confidence taken), `temperature`, `validation_accuracy`, `accepted`.
    round_pseudo_labels_ : list of ndarray
        For each round the class index of each pool sample, -1 where it was not taken or not asked for.
    labeled_iter_ : ndarray of shape (n_samples,)
        For each row of `X` the round in which it got its label: 0 if given, -1 if never.
    n_iter_ : int
        Number of rounds.
    termination_condition_ : {"max_iter", "no_change", "validation", "held_back"}
        Why it ended: all rounds done, nothing to label, a round that did worse, or a guard that held the pool back.

    References
    ----------
    Cascante-Bonilla et al., "Curriculum labeling: revisiting pseudo-labeling for semi-supervised learning",
    AAAI 2021. Scudder, "Probability of error of some adaptive pattern-recognition machines", 1965.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = SelfTraining(rounds=1, steps=40, batch_size=32, random_state=0).fit(images, y)
    >>> method.termination_condition_, round(method.rounds_[0]["pool_share"], 2)
    ('max_iter', 0.8)
    """

    _goes_on: ClassVar[bool] = True
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "notebook": {
            **Supervised.PRESETS["notebook"],
            "epochs": 1,
            "rounds": 10,
            "threshold": 0.8,
            "restart": False,
            "confidence_weights": True,
            "labeled_share": None,
            "student_steps": 1.0,
            "ensemble": False,
        }
    }

    rounds: int = 2
    first_share: float = 0.5
    top_share: float = 0.8
    soft_labels: bool = False
    ensemble: bool = True
    threshold: float | None = None
    restart: bool = True
    confidence_weights: bool = False
    labeled_share: float | None = 0.5
    labeled_weight: float = 1.0
    student_steps: float = 3.0
    asked_share: float | None = 1.0

    def loss(self, nets: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted cross-entropy on labels and pseudo-labels."""
        return {"supervised": labeled_loss(nets, batch, view=self.view, label_smoothing=self.label_smoothing)}

    def _check_settings(self) -> None:
        super()._check_settings()
        check_whole(self, 0, "rounds")
        check_within(self, "(0, 1]", "first_share", "top_share")
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise InputError(f"threshold={self.threshold} is not in [0, 1)")
        if self.labeled_share is not None and not 0 < self.labeled_share < 1:
            raise InputError(f"labeled_share={self.labeled_share} is not in (0, 1)")
        check_above_zero(self, "labeled_weight", "student_steps")
        if self.asked_share is not None:
            check_above_zero(self, "asked_share")

    def _learn(self, session: Session) -> Any:
        length = self._length(session)
        network = session.new_classifier()
        if session.budget is not None:
            length = {"steps": self._steps_in_budget(session, network), "epochs": None}
        session.monitor.stage_count = self._stage_count
        self._train(session, network, "teacher", length)
        session.learned_alone(network)
        asked = self._asked(session, length["steps"])
        correct = right_answers(session, network)
        # For a list of what a fit chose, see `choices`: one net that goes on learning is kept whatever it does.
        self._rounds_judged_ = self.restart
        self.rounds_: list[dict[str, Any]] = []
        self.round_pseudo_labels_: list[NDArray[np.int64]] = []
        self.termination_condition_ = "max_iter"
        before: NDArray[np.int64] | None = None
        opinions: list[NDArray[np.float64]] = []
        last = np.full(len(session.pool), -1)
        for number in range(1, self.rounds + 1):
            if not len(asked):
                self.termination_condition_ = "no_change"
                break
            found, temperature = self._label(session, network, some_rows(session.pool, asked))
            if self.ensemble:
                opinions.append(found)
                found = np.mean(opinions, axis=0)
            confidences, guesses = found.max(1), found.argmax(1)
            taken = self._select(confidences, guesses, number)
            taken &= np.isin(asked, session.members)
            given = asked < session.given_pool  # not the labeled samples that count among the pool
            record = {
                "round": number,
                "asked": int(given.sum()),
                "pool_share": round(float(taken[given].sum()) / session.given_pool, 4),
                "agreement": None if before is None else float((guesses == before).mean()),
                "threshold": float(confidences[taken].min()) if taken.any() else None,
                "temperature": temperature,
            }
            if not taken.any():
                self.termination_condition_ = "no_change"
                if number == 1 and session.budget is not None:
                    network = self._from_labels_alone(session)
                break
            student = session.new_classifier() if self.restart else network
            student_length = self._student_length(session, length, taken)
            pseudo_labels = self._teach(session, student, f"round {number}", student_length, asked, found, taken)
            now_correct = right_answers(session, student)
            accepted = not self.restart or not is_worse(correct, now_correct)
            record |= {
                "validation_accuracy": float(now_correct.mean()) if len(now_correct) else None,
                "accepted": accepted,
            }
            self.rounds_.append(record)
            self.round_pseudo_labels_.append(pseudo_labels[: session.given_pool])
            if not accepted:
                self.termination_condition_ = "validation"
                break
            network, correct, before, last = student, now_correct, guesses, pseudo_labels
        self.n_iter_ = len(self.rounds_)
        self._last_pseudo_labels = last
        return network

    @property
    def _stage_count(self) -> int:
        return 1 + int(self.rounds)

    @property
    def _begins_with_labels(self) -> bool:
        return True

    def _hold_back(self, session: Session, guard: Any) -> Any:
        network = super()._hold_back(session, guard)
        self.rounds_, self.round_pseudo_labels_, self.n_iter_ = [], [], 0
        self.termination_condition_ = "held_back"
        self._last_pseudo_labels = np.full(len(session.pool), -1)
        return network

    def _train(
        self,
        session: Session,
        network: nn.Module,
        stage: str,
        length: dict[str, Any],
        batches: Callable[[], Batches] | None = None,
    ) -> int:
        return session.train(
            network,
            lambda batch: self.loss(network, batch),
            stage=stage,
            classifier=network,  # type: ignore[arg-type]
            batches=batches,
            **length,
        )

    def _teach(
        self,
        session: Session,
        student: nn.Module,
        stage: str,
        length: dict[str, Any],
        asked: NDArray[np.int64],
        found: NDArray[np.float64],
        taken: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """Train a student on labels and on what was found of the pool samples asked for, and return their classes.

        Parameters
        ----------
        asked : ndarray of int
            Rows of the pool.
        found, taken : ndarray
            For each of them its class probabilities, and whether it is learned from.

        Returns
        -------
        ndarray of shape (pool samples,)
            -1 for those that are not learned from.
        """
        pseudo_labels = np.full(len(session.pool), -1)
        pseudo_labels[asked[taken]] = found[taken].argmax(1)
        probabilities = np.zeros((len(session.pool), session.classes))
        probabilities[asked] = found
        self._train(session, student, stage, length, partial(self._batches, session, pseudo_labels, probabilities))
        return pseudo_labels

    def _steps_in_budget(self, session: Session, network: Classifier) -> int:
        """Return the teacher's steps, of which students take a multiple: so recorded steps repeat the run.

        A budget too short for the rounds that stand in the defaults goes into one round.
        """
        budget = session.budget
        assert budget is not None
        per_step = cost_of_step(session, network, lambda batch: self.loss(network, batch), session.batches)
        defaults = {field.name: field.default for field in fields(self)}
        by_default = all(getattr(self, name) == defaults[name] for name in ("rounds", "student_steps"))
        if by_default and session.decided(budget.left) < _LEAST_TEACHER * self._teachers_in_all() * per_step:
            self.rounds, self.student_steps = 1, 1.0
        # Without a pool there is nothing for students to learn from.
        share = 1 / self._teachers_in_all() if len(session.pool) else 1.0
        rest = self._cost_of_labels(session, network)
        return steps_in_budget(session, per_step, network, share=share, rest=rest, stages=1 + self.rounds)

    def _teachers_in_all(self) -> float:
        """Return how many times as long as the teacher's training all trainings are together."""
        return 1 + self.rounds * self.student_steps

    def _from_labels_alone(self, session: Session) -> Classifier:
        """Return a net that what is left of the budget went into, where no guess of the teacher is to be learned."""
        session.monitor.stage_count = 2
        session.monitor.note(
            "the teacher was sure enough of no sample of the pool: what was left of the budget went into the labeled "
            "samples alone; give more time or ask for less confidence"
        )
        network = session.new_classifier()
        self._train(session, network, "labeled samples alone", {})
        return network

    def _asked(self, session: Session, steps: int | None) -> NDArray[np.int64]:
        """Return which pool samples are to be labeled, sorted, given the teacher's steps."""
        pool = len(session.pool)
        count = pool if steps is None else self._asked_count(session, steps)
        if count == pool:
            return np.arange(pool)
        order = np.random.default_rng(session.next_seed())
        return session.pool.drawn(count, order, None if len(session.members) == pool else session.members)

    def _asked_count(self, session: Session, steps: int) -> int:
        """Return of how many samples of the pool labels are worth their time, given the teacher's steps."""
        pool = len(session.pool)
        if session.is_vectors or self.asked_share is None or self.threshold is not None or self.labeled_share is None:
            return pool
        draws = max(1, round(steps * self.student_steps)) * (self.batch_size - self._labeled_size())
        return min(pool, math.ceil(self.asked_share * draws))

    def _labeled_size(self) -> int:
        """Return how many samples of a student's batch are labeled ones; `labeled_share` is given."""
        assert self.labeled_share is not None
        return min(max(1, round(self.labeled_share * self.batch_size)), self.batch_size - 1)

    def _cost_of_labels(self, session: Session, network: Classifier) -> Callable[[int], float]:
        """Return what labels in all rounds cost of the budget, given the teacher's steps."""
        budget, pool = session.budget, len(session.pool)
        assert budget is not None

        @cache
        def a_round() -> float:
            return budget.cost_of(lambda: self._seconds_to_label(session, network))

        return lambda steps: self.rounds * a_round() * self._asked_count(session, steps) / max(pool, 1)

    def _label(self, session: Session, network: nn.Module, pool: Rows) -> tuple[NDArray[np.float64], float]:
        """Return the class probabilities of some pool samples, and the temperature they were taken at."""
        held_out = session.validation
        temperature = 1.0
        if len(held_out):
            rows = held_out.stored
            logits = session.logits(network, rows)  # type: ignore[arg-type]
            temperature = best_temperature(logits, held_out.labels)
        logits = session.logits(network, pool)  # type: ignore[arg-type]
        return softmax(logits / temperature, axis=1), temperature

    def _seconds_to_label(self, session: Session, network: Classifier) -> float:
        """Return how long `_label` takes for the whole pool, measured on some of it."""
        return seconds_to_predict(session, network, session.pool, flip=session.flip, precision=session.recipe.precision)

    def _select(self, confidences: NDArray[np.float64], guesses: NDArray[np.int64], number: int) -> NDArray[np.bool_]:
        """Return which pool samples join: above the threshold, or the top share of each predicted class."""
        if self.threshold is not None:
            return confidences > self.threshold
        done = (number - 1) / max(self.rounds - 1, 1)
        first = self.top_share if self.rounds == 1 else self.first_share
        return top_of_each_class(confidences, guesses, first + done * (self.top_share - first))

    def _student_length(self, session: Session, length: dict[str, Any], taken: NDArray[np.bool_]) -> dict[str, Any]:
        if length["steps"] is None:
            # A pass of a student is one over labeled and pseudo-labeled samples together.
            both = len(session.labeled) + int(taken.sum())
            return {"steps": session.steps_of(length["epochs"], both)}
        return {"steps": max(1, round(length["steps"] * self.student_steps))}

    def _batches(
        self, session: Session, pseudo_labels: NDArray[np.int64], probabilities: NDArray[np.float64]
    ) -> Batches:
        """Return batches of labeled and pseudo-labeled samples, without end."""
        order, views = np.random.default_rng(session.next_seed()), session.new_views()
        chosen = self._members(session, pseudo_labels, probabilities.max(1))
        streamed = session.pool.windows is not None
        if streamed:
            chosen = np.sort(chosen)
        count = len(session.labeled)
        both = session.everything
        labels = session.labeled.labels
        given = np.eye(session.classes, dtype=np.float32)[labels]
        guessed = probabilities if self.soft_labels else np.eye(session.classes)[pseudo_labels]
        targets = np.concatenate([given, guessed.astype(np.float32)])
        weights = self._sample_weights(labels, pseudo_labels, probabilities)
        if self.labeled_share is None:
            members = np.concatenate([np.arange(count), count + chosen])
            orders = [pool_order(both, members, self.batch_size, order)]
        else:
            size = self._labeled_size()
            pool_rows = pool_order(session.pool, chosen, self.batch_size - size, order)
            orders = [ShuffledRows(count, size, order), pool_rows]

        def make() -> Batch:
            if self.labeled_share is None:
                drawn = next(orders[0])
                rows = drawn if streamed else members[drawn]
            else:
                own, drawn = next(orders[0]), next(orders[1])
                rows = np.concatenate([own, count + (drawn if streamed else chosen[drawn])])
            return Batch(
                labeled=both.take(rows, session.device),
                targets=torch.from_numpy(targets[rows]).to(session.device),
                weights=torch.from_numpy(weights[rows].astype(np.float32)).to(session.device),
                unlabeled=None,
                views=views,
                progress=0.0,
            )

        return Batches(make, views, order, *orders)

    def _sample_weights(
        self, given: NDArray[np.int64], pseudo_labels: NDArray[np.int64], probabilities: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the weight of the loss of each labeled sample, and of each pool sample after them."""
        of_pool = probabilities.max(1) if self.confidence_weights else np.ones(len(pseudo_labels))
        return np.concatenate([np.full(len(given), float(self.labeled_weight)), of_pool])

    def _members(
        self, session: Session, pseudo_labels: NDArray[np.int64], confidences: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Return which pool samples a student learns from; one may come several times."""
        del session, confidences
        return np.flatnonzero(pseudo_labels >= 0)

    def _fill_gaps(self, samples: Any, indices: NDArray[np.int64]) -> NDArray[Any]:
        missing = np.flatnonzero(indices < 0)
        # The pool begins with the rows of X that have no label.
        own = self._last_pseudo_labels[: len(missing)]
        del self._last_pseudo_labels
        self.labeled_iter_ = np.zeros(len(indices), np.int64)
        self.labeled_iter_[missing] = np.where(own >= 0, max(self.n_iter_, 1), -1)
        for number in range(self.n_iter_, 0, -1):
            earlier = self.round_pseudo_labels_[number - 1][: len(missing)]
            self.labeled_iter_[missing[(own >= 0) & (earlier == own)]] = number
        return super()._fill_gaps(samples, indices)


def top_of_each_class(confidences: NDArray[np.float64], guesses: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Return a mask of the most confident `share` of the samples of each predicted class.

    Examples
    --------
    >>> top_of_each_class(np.array([0.9, 0.8, 0.7, 0.6]), np.array([0, 0, 1, 1]), 0.5).tolist()
    [True, False, True, False]
    """
    taken = np.zeros(len(guesses), bool)
    for index in np.unique(guesses):
        rows = np.flatnonzero(guesses == index)
        best = rows[np.argsort(-confidences[rows], kind="stable")]
        taken[best[: round(share * len(rows))]] = True
    return taken
