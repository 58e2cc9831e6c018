"""Auto: chooses method and net from the data, tries them out where labels allow, and says why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from fewlabels.methods.base import SemiSupervisedClassifier
from fewlabels.methods.choice import Candidate, Situation, candidates, why_patches
from fewlabels.methods.guard import affordable_samples, cost_of_labels_alone, is_worse, right_answers
from fewlabels.methods.inner import learned_attributes
from fewlabels.methods.net_and_patches import NetAndPatches
from fewlabels.methods.ranges import check_within
from fewlabels.methods.session import Session
from fewlabels.methods.targets import held_out_rows
from fewlabels.nets import Classifier
from fewlabels.nets.pretrained import is_backbone
from fewlabels.training.budget import TimeBudget

_HALVES = 2
# What a net says that has learned from fewer labels of a class tells little of how it will do with all of them.
_LEAST_LABELS = 20
# The likeliest method stands unless another is right on more samples by so many standard errors of the difference.
_ERRORS = 2.0


@dataclass(kw_only=True, eq=False, repr=False)
class Auto(SemiSupervisedClassifier):
    """Takes the method that the data asks for, guards it, and says what was chosen and why.

    Rules name the methods to consider, the likeliest first, from the number of labels, the size of the pool, what
    the samples are and how long training may take; they stand on measured accuracies (see
    `fewlabels.methods.choice`). Where that leaves two and labels are enough, each learns for a while from one half
    of the labels and is asked for the other, twice with the halves exchanged; the likeliest stands unless another
    is better by more than chance. The chosen method then learns from all labels, under the guard: where labels
    alone do better on the held-out samples, the result is what they gave.

    Settings that all methods share are passed on to the chosen one; see `SemiSupervisedClassifier` for them and for
    the other attributes.

    Parameters
    ----------
    trial_share : float
        Share of the steps or of the budget for all trials together, in [0, 1); 0 for none. On vectors without a
        budget each trial is as long as the training itself, since that takes seconds.

    Attributes
    ----------
    choice_ : dict
        `method` and `settings` that were chosen; `because`, sentences that tell why; `trials`, for each method that
        was tried the share of right answers on labeled samples that it had not learned from.
    settings_ : dict
        With those of the method that was chosen, as it learned by them.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = Auto(steps=60, batch_size=32, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    trial_share: float = 0.2
    guard: bool = True

    # Without an annotation they are no hyper-parameters: what was chosen, while it learns.
    _chosen: ClassVar[SemiSupervisedClassifier | None] = None

    def _learn(self, session: Session) -> Any:
        method = self._choose(session)
        network = method._learn(session.of(method))
        self.__dict__.update(learned_attributes(method))
        self.settings_ = self._plain_settings() | getattr(method, "settings_", method._plain_settings())
        self._left_out = method._left_out  # type: ignore[misc]
        return network

    def _new_guard(self, session: Session) -> Any:
        """Return what the chosen method would be guarded by; labels alone need no guard."""
        method = self._choose(session)
        return method._new_guard(session.of(method)) if method._pool_can_harm else None

    def _hasty_guard(self, session: Session) -> None:
        """Return None: the rules that choose a method have looked at the time."""
        del session

    def _choose(self, session: Session) -> SemiSupervisedClassifier:
        """Return the method to learn by, chosen once; `choice_` tells which and why."""
        if self._chosen is None:
            situation = self._situation(session)
            why = why_patches(situation)
            if why is not None and situation.timed:
                # The net has what the patches leave.
                situation = replace(situation, images=situation.images - (situation.patches or 0.0))
            found = candidates(situation)
            chosen, because = found[0], [found[0].because]
            trials: dict[str, NDArray[np.bool_]] = {}
            if len(found) > 1 and self.trial_share > 0 and situation.least >= _LEAST_LABELS:
                chosen, trials = self._tried(session, found)
                if chosen is not found[0]:
                    because = [f"{chosen.method} did better on labels that it had not learned from: {_scores(trials)}"]
            if why is not None:
                settings = {"net_method": chosen.method, **chosen.settings}
                chosen = Candidate("net-and-patches", settings, why)
                because = [*because, why]
            method = self._with_settings(chosen)
            self.choice_: dict[str, Any] = {
                "method": chosen.method,
                "settings": chosen.settings,
                "because": because,
                "trials": {name: float(right.mean()) for name, right in trials.items()},
            }
            self._chosen = method  # type: ignore[misc]
        return self._chosen

    def _situation(self, session: Session) -> Situation:
        labels = session.class_counts()
        images, patches = self._affordable(session)
        return Situation(
            labels=int(labels.sum()),
            classes=session.classes,
            least=int(labels.min()),
            # Labeled samples that count among the pool make it no larger.
            pool=int((session.members < session.given_pool).sum()),
            side=0 if session.is_vectors else min(session.sample_shape[:2]),
            images=images,
            pretrained=self.net == "linear",
            decodable=not is_backbone(self.net),
            budgeted=session.budget is not None,
            timed=isinstance(session.budget, TimeBudget),
            any_net=self.net == "auto",
            patches=patches,
        )

    def _affordable(self, session: Session) -> tuple[float, float | None]:
        """Return how many labeled samples the length lets a net learn from, repetitions counted.

        And how many could be learned from in the time that patches take, where time is what counts.
        """
        if session.budget is not None:
            per_step = cost_of_labels_alone(session)
            images, patches = affordable_samples(session, per_step), None
            if isinstance(session.budget, TimeBudget) and not session.is_vectors:
                seconds = session.decided(partial(NetAndPatches()._seconds_of_patches, session))
                patches = self.batch_size * seconds / per_step
            return images, patches
        length = self._length(session)
        steps: float | None = length.get("steps")
        return (self.batch_size * steps if steps else float(length["epochs"]) * len(session.labeled)), None

    def _tried(self, session: Session, found: list[Candidate]) -> tuple[Candidate, dict[str, NDArray[np.bool_]]]:
        """Return the first candidate, or the one that does better, and which unseen labels each was right on."""
        targets = session.labeled.labels
        halves = StratifiedKFold(_HALVES, shuffle=True, random_state=session.next_seed())
        parts = list(halves.split(np.zeros(len(targets)), targets))
        # On vectors a whole training takes no longer than a look at images.
        share = 1.0 if session.is_vectors and session.budget is None else self.trial_share / (len(found) * _HALVES)
        session.monitor.stages_before += len(found) * _HALVES
        left = None if session.budget is None else session.decided(session.budget.left)
        trials = {}
        for candidate in found:
            right = []
            for number, (learned, unseen) in enumerate(parts, 1):
                method = self._with_settings(candidate)
                # What a method decides by is not what it is judged by.
                draws = np.random.default_rng(number)
                held_out = learned[held_out_rows(targets[learned], method.validation_fraction, draws)]
                part = session.of(method).part(
                    np.setdiff1d(learned, held_out), held_out, stage=f"trial {number} of {candidate.method}"
                )
                if left is not None:
                    part.budget = session.budget.part(share * left)  # type: ignore[union-attr]
                else:
                    method.set_params(**self._shortened(session, share))
                network = method._learn(part)
                right.append(right_answers(session.of(method).part(learned, unseen), network))
            trials[candidate.method] = np.concatenate(right)
        chosen = found[0]
        for candidate in found[1:]:
            if is_better(trials[chosen.method], trials[candidate.method]):
                chosen = candidate
        return chosen, trials

    def _shortened(self, session: Session, share: float) -> dict[str, Any]:
        length = self._length(session)
        if length.get("steps"):
            return {"steps": max(1, round(share * length["steps"])), "epochs": None}
        return {"steps": None, "epochs": share * length["epochs"]}

    def _with_settings(self, candidate: Candidate) -> SemiSupervisedClassifier:
        """Return the candidate's method, with what was set here of the settings that all methods share."""
        from fewlabels.methods.registry import make_method

        given = self._shared_settings()
        if given.get("preset") == "auto" and "preset" in candidate.settings:
            del given["preset"]  # which one serves is what the candidate says
        return make_method(candidate.method, **candidate.settings | given | {"guard": self.guard})._resolved()

    def _empty_network(self, sample_shape: tuple[int, ...], classes: int) -> Classifier:
        if not hasattr(self, "choice_"):
            return super()._empty_network(sample_shape, classes)
        chosen = self._with_settings(Candidate(self.choice_["method"], self.choice_["settings"], ""))
        return chosen._empty_network(sample_shape, classes)

    def _resolved(self) -> Self:
        worker = super()._resolved()
        if hasattr(self, "choice_"):
            # A model that is read builds the net of what was chosen.
            worker.choice_ = self.choice_
        return worker

    def _check_settings(self) -> None:
        super()._check_settings()
        check_within(self, "[0, 1)", "trial_share")


def is_better(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> bool:
    """Say whether the second is right more often than the first on the same samples, by more than chance explains.

    Examples
    --------
    >>> is_better(np.arange(100) < 60, np.arange(100) < 80), is_better(np.arange(100) < 79, np.arange(100) < 80)
    (True, False)
    """
    return is_worse(second, first, errors=_ERRORS)


def _scores(trials: dict[str, NDArray[np.bool_]]) -> str:
    return ", ".join(f"{name} {right.mean():.1%}" for name, right in trials.items())
