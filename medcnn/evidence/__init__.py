"""Evidence: the maps of a classifier, and scores that say whether they can be believed."""

from medcnn.evidence.explainer import ClassifierMaps, Explainer
from medcnn.evidence.gallery import draw_gallery, scale_of

__all__ = ["ClassifierMaps", "Explainer", "draw_gallery", "scale_of"]
