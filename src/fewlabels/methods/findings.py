"""What a fit found out about its data, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fewlabels.methods.guard import (
    after_pretraining,
    had_nothing_to_compare_on,
    has_fallen_back,
    has_fallen_back_on_pretrained,
    was_held_back,
)
from fewlabels.methods.pool_quality import learned_from

if TYPE_CHECKING:
    from fewlabels.methods.base import SemiSupervisedClassifier

_NAMED = 3


def findings(method: SemiSupervisedClassifier, class_names: Sequence[object] | None = None) -> list[str]:
    """Return sentences on what went wrong in training, the method chosen, a pretrained net, the pool and the guard.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        Fitted.
    class_names : sequence, optional
        Of `classes_`, in that order; the classes themselves when not given.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> facts = {"accepted": True, "accuracy": 0.8, "pool_steps": 500, "steps_left_out": 20}
    >>> findings(SimpleNamespace(classes_=[0, 1], guard_=facts))
    ["the guard left the pool's gradient out of 20 of 500 steps: it pointed against that of the labels"]
    """
    found = list(getattr(method, "notes_", []))
    names = [str(name) for name in (method.classes_ if class_names is None else class_names)]
    choice = getattr(method, "choice_", None)
    if choice is not None:
        settings = "".join(f", {name} {value}" for name, value in choice["settings"].items())
        found.append(f"auto chose {choice['method']}{settings}: {'; '.join(choice['because'])}")
    facts = getattr(method, "backbone_facts_", None)
    if facts is not None:
        found.append(f"the pretrained net, {facts.net}, was trained on {facts.trained_on}")
        if getattr(method, "backbone_warning_", None):
            found.append(f"warning: {method.backbone_warning_}")
    if hasattr(method, "pool_belongs_"):
        learned = f"{learned_from(method.pool_belongs_) / len(method.pool_belongs_):.0%}"
        learner = learner_of(method)
        if was_held_back(method) or not learner._learns_from_pool:
            learned = "none was learned from"
        elif learner._pretrains:
            learned = f"pretraining took all of it, what came after at most {learned}"
        else:
            learned = f"{learned} was learned from"
        found.append(
            f"of the pool, an estimated {method.pool_inside_share_:.0%} at most belongs to the classes; {learned}"
        )
        order = np.argsort(-method.pool_prior_, kind="stable")
        shares = [f"{names[index]} {method.pool_prior_[index]:.0%}" for index in order]
        if len(shares) > 2 * _NAMED:
            shares = [*shares[:_NAMED], "…", *shares[-_NAMED:]]
        found.append(f"classes in the pool, by estimate: {', '.join(shares)}")
    guard = getattr(method, "guard_", None)
    if guard is not None:
        if guard["steps_left_out"]:
            found.append(
                f"the guard left the pool's gradient out of {guard['steps_left_out']} of {guard['pool_steps']} steps: "
                "it pointed against that of the labels"
            )
        if was_held_back(method):
            found.append(
                "the guard held the pool back: in so short a budget the labels alone come further than with a pool "
                "that takes its share of it"
            )
        elif had_nothing_to_compare_on(method):
            found.append("the guard had nothing to compare with the labels alone on: no labeled image is held out")
        elif has_fallen_back(method):
            after = after_pretraining(has_fallen_back_on_pretrained(method))
            found.append(
                f"the pool did harm, and the guard fired: the result is what the labels alone gave{after}, "
                f"{guard['supervised_accuracy']:.1%} on held-out images against {guard['accuracy']:.1%} with the pool"
            )
    return found


def learner_of(method: SemiSupervisedClassifier) -> type[SemiSupervisedClassifier]:
    """Return the method that has learned: of Auto, the one that was chosen."""
    from fewlabels.methods.registry import METHODS

    choice = getattr(method, "choice_", None)
    return type(method) if choice is None else METHODS[choice["method"]]
