"""Methods by name. A new method adds its line to `METHODS`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from fewlabels.methods.auto import Auto
from fewlabels.methods.base import SemiSupervisedClassifier
from fewlabels.methods.ensemble_labels import EnsembleLabels
from fewlabels.methods.fixmatch import FixMatch
from fewlabels.methods.flexmatch import FlexMatch
from fewlabels.methods.freematch import FreeMatch
from fewlabels.methods.joint_autoencoder import JointAutoencoder
from fewlabels.methods.kmeans_features import KMeansFeatures
from fewlabels.methods.label_spreading import LabelSpreading
from fewlabels.methods.linear_probe import LinearProbe
from fewlabels.methods.masked_autoencoder import MaskedAutoencoder
from fewlabels.methods.mixmatch import MixMatch
from fewlabels.methods.net_and_patches import NetAndPatches
from fewlabels.methods.noisy_student import NoisyStudent
from fewlabels.methods.pi_model import MeanTeacher, PiModel
from fewlabels.methods.prototypes import Prototypes
from fewlabels.methods.pseudo_label import PseudoLabel
from fewlabels.methods.ranges import with_tuples
from fewlabels.methods.remixmatch import ReMixMatch
from fewlabels.methods.self_training import SelfTraining
from fewlabels.methods.simclr import SimCLR
from fewlabels.methods.simmatch import SimMatch
from fewlabels.methods.softmatch import SoftMatch
from fewlabels.methods.supervised import Supervised
from fewlabels.methods.two_step_autoencoder import TwoStepAutoencoder
from fewlabels.methods.uda import UDA
from fewlabels.methods.vat import VAT
from fewlabels.methods.vicreg import VICReg
from fewlabels.storage.errors import InputError, nearest
from fewlabels.storage.kebab import kebab, method_meant


def method_name(method: type[SemiSupervisedClassifier]) -> str:
    """Return the kebab-case name of a method's class.

    Examples
    --------
    >>> method_name(SelfTraining)
    'self-training'
    """
    return kebab(method.__name__)


_ALL: tuple[type[SemiSupervisedClassifier], ...] = (
    Auto,
    Supervised,
    SelfTraining,
    NoisyStudent,
    TwoStepAutoencoder,
    JointAutoencoder,
    MaskedAutoencoder,
    SimCLR,
    VICReg,
    KMeansFeatures,
    NetAndPatches,
    LinearProbe,
    Prototypes,
    EnsembleLabels,
    LabelSpreading,
    PseudoLabel,
    PiModel,
    MeanTeacher,
    VAT,
    MixMatch,
    ReMixMatch,
    UDA,
    FixMatch,
    FlexMatch,
    FreeMatch,
    SoftMatch,
    SimMatch,
)
METHODS: dict[str, type[SemiSupervisedClassifier]] = {method_name(method): method for method in _ALL}
# What a comparison takes when nothing is said: the four ideas that the project began with.
BASIC_METHODS = ("supervised", "self-training", "two-step-autoencoder", "joint-autoencoder")


def make_method(name: str, **settings: Any) -> SemiSupervisedClassifier:
    """Return a method by its name.

    Parameters
    ----------
    name : str
        A key of `METHODS`; the class's own name does too, and hyphens may be left out.
    **settings
        Its hyper-parameters.

    Raises
    ------
    InputError
        If there is no such method or setting; the message names the nearest.

    Examples
    --------
    >>> make_method("self-training", rounds=4)
    SelfTraining(rounds=4)
    """
    method = METHODS[method_meant(name, METHODS)]
    known = [field.name for field in fields(method)]
    for setting in settings:
        if setting not in known:
            called, near = method_name(method), nearest(setting, known)
            raise InputError(
                f"{called} has no setting {setting!r}{near or f'; `fewlabels methods {called}` lists what it has'}"
            )
    return method(**with_tuples(method, settings))
