"""The methods, one file each, and their names."""

from fewlabels.methods.base import SemiSupervisedClassifier
from fewlabels.methods.fixmatch import FixMatch
from fewlabels.methods.joint_autoencoder import JointAutoencoder
from fewlabels.methods.registry import BASIC_METHODS, METHODS, make_method, method_name
from fewlabels.methods.saved import load
from fewlabels.methods.self_training import SelfTraining
from fewlabels.methods.supervised import Supervised
from fewlabels.methods.two_step_autoencoder import TwoStepAutoencoder
from fewlabels.methods.uda import UDA

__all__ = [
    "BASIC_METHODS",
    "METHODS",
    "UDA",
    "FixMatch",
    "JointAutoencoder",
    "SelfTraining",
    "SemiSupervisedClassifier",
    "Supervised",
    "TwoStepAutoencoder",
    "load",
    "make_method",
    "method_name",
]
