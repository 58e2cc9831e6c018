"""The methods, one file each, and their names."""

from fewlabels.methods.auto import Auto
from fewlabels.methods.base import SemiSupervisedClassifier
from fewlabels.methods.embedding import Embedded, embed
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
from fewlabels.methods.registry import BASIC_METHODS, METHODS, make_method, method_name
from fewlabels.methods.remixmatch import ReMixMatch
from fewlabels.methods.saved import load
from fewlabels.methods.self_training import SelfTraining
from fewlabels.methods.simclr import SimCLR
from fewlabels.methods.simmatch import SimMatch
from fewlabels.methods.softmatch import SoftMatch
from fewlabels.methods.supervised import Supervised
from fewlabels.methods.two_step_autoencoder import TwoStepAutoencoder
from fewlabels.methods.uda import UDA
from fewlabels.methods.vat import VAT
from fewlabels.methods.vicreg import VICReg

__all__ = [
    "BASIC_METHODS",
    "METHODS",
    "UDA",
    "VAT",
    "Auto",
    "Embedded",
    "EnsembleLabels",
    "FixMatch",
    "FlexMatch",
    "FreeMatch",
    "JointAutoencoder",
    "KMeansFeatures",
    "LabelSpreading",
    "LinearProbe",
    "MaskedAutoencoder",
    "MeanTeacher",
    "MixMatch",
    "NetAndPatches",
    "NoisyStudent",
    "PiModel",
    "Prototypes",
    "PseudoLabel",
    "ReMixMatch",
    "SelfTraining",
    "SemiSupervisedClassifier",
    "SimCLR",
    "SimMatch",
    "SoftMatch",
    "Supervised",
    "TwoStepAutoencoder",
    "VICReg",
    "embed",
    "load",
    "make_method",
    "method_name",
]
