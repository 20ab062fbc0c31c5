"""The networks, each as ``head(features(x))``."""

from medcnn.nets.base import Net, Problem, coarse_map_warning, stage_shapes
from medcnn.nets.cut import cut
from medcnn.nets.dense import convolutionalise
from medcnn.nets.initialise import initialise
from medcnn.nets.pretrained.weights import load_weights
from medcnn.nets.registry import FAMILIES, build

__all__ = [
    "FAMILIES",
    "Net",
    "Problem",
    "build",
    "coarse_map_warning",
    "convolutionalise",
    "cut",
    "initialise",
    "load_weights",
    "stage_shapes",
]
