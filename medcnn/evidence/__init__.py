"""Whether the maps of a classifier can be believed: its maps of a split, scored image by image."""

from medcnn.evidence.explainer import ClassifierMaps, Explainer, scale_of
from medcnn.evidence.gallery import draw_gallery

__all__ = ["ClassifierMaps", "Explainer", "draw_gallery", "scale_of"]
