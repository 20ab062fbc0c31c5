"""Class activation maps: where the evidence for a class lies in the image, and scores of maps."""

from medcnn.cam.baselines import BASELINES, baseline
from medcnn.cam.maps import METHODS, SIGNED, explain, is_empty, normalise
from medcnn.cam.scores import pointing_hits

__all__ = [
    "BASELINES",
    "METHODS",
    "SIGNED",
    "baseline",
    "explain",
    "is_empty",
    "normalise",
    "pointing_hits",
]
