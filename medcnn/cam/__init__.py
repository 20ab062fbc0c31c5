"""Class activation maps: where the evidence for a class lies in the image, and scores of maps."""

from medcnn.cam.maps import METHODS, explain, is_empty, normalise
from medcnn.cam.scores import centre_map, pointing_hits

__all__ = ["METHODS", "centre_map", "explain", "is_empty", "normalise", "pointing_hits"]
