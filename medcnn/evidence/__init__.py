"""Evidence: the maps of a classifier, and scores that say whether they can be believed."""

from medcnn.evidence.explainer import ClassifierMaps, Explainer, scale_of
from medcnn.evidence.gallery import draw_gallery

__all__ = ["ClassifierMaps", "Explainer", "draw_gallery", "scale_of"]
