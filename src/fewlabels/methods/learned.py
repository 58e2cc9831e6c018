"""What a fit leaves in a method, for type checkers; what each is stands with `SemiSupervisedClassifier`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fewlabels.methods.examples import Examples
    from fewlabels.methods.reconstruction import Autoencoder
    from fewlabels.methods.weight_sets import WeightSet
    from fewlabels.nets import Backbone, BackboneFacts, Classifier


class Learned:
    """Types of the learned attributes: as those of no dataclass, they are no hyper-parameters."""

    classes_: NDArray[Any]
    class_names_: list[str]
    n_features_in_: int
    feature_names_in_: NDArray[Any]
    n_iter_: int
    transduction_: NDArray[Any]
    network_: Classifier
    history_: list[dict[str, Any]]
    validation_rows_: NDArray[np.int64]
    validation_accuracy_: float
    n_validation_: int
    unmeasured_classes_: list[int]
    n_labeled_: int
    n_pool_: int
    temperature_: float
    conformal_scores_: NDArray[np.float64]
    kept_weights_: dict[str, WeightSet]
    used_weights_: str
    gradient_images_: int
    fit_seconds_: float
    pool_inside_share_: float
    pool_prior_: NDArray[np.float64]
    pool_belongs_: NDArray[np.float64]
    guard_: dict[str, Any]
    stage_steps_: dict[str, int]
    pool_looks_: list[dict[str, Any]]
    notes_: list[str]
    settings_: dict[str, Any]
    sample_shape_: tuple[int, ...]
    mirrors_: bool
    backbone_facts_: BackboneFacts
    backbone_warning_: str | None
    features_net_: str
    backbone_: Backbone
    examples_: Examples
    source_: dict[str, Any]
    # What some methods chose their penalty by, and whether some judged their rounds: for what is told of choices.
    _penalty_looked_at_: str
    _rounds_judged_: bool


class LearnedAutoencoder:
    """Types of what a fit leaves in the methods that have an autoencoder."""

    autoencoder_: Autoencoder
