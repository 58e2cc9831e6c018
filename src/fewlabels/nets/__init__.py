"""Encoders, decoders and heads.

An encoder maps what the views return to a map (`feature_map`) and the map to a vector (`forward`); a
`Classifier` puts an input normalization before it and a head behind it.
"""

from fewlabels.nets.backbone import Backbone, BackboneFacts
from fewlabels.nets.classifier import Classifier, Encoder
from fewlabels.nets.pretrained import is_backbone, load_backbone, open_backbone
from fewlabels.nets.registry import NETS, QUICKEST, QUICKEST_FROM, build_classifier, build_decoder, check_net

__all__ = [
    "NETS",
    "QUICKEST",
    "QUICKEST_FROM",
    "Backbone",
    "BackboneFacts",
    "Classifier",
    "Encoder",
    "build_classifier",
    "build_decoder",
    "check_net",
    "is_backbone",
    "load_backbone",
    "open_backbone",
]
