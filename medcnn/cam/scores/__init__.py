"""Scores of maps, by which one can tell whether to believe them."""

from medcnn.cam.scores.boxes import Candidates, Froc, box_iou, candidates
from medcnn.cam.scores.faithfulness import (
    DeletionInsertion,
    Road,
    average_drop_increase,
    deletion_insertion,
    road,
)
from medcnn.cam.scores.images import (
    image_agreement,
    image_deletion,
    image_pointing_hits,
    middle_image,
)
from medcnn.cam.scores.imputation import linear_imputation
from medcnn.cam.scores.localisation import (
    THRESHOLDS,
    energy_inside,
    iou_at_thresholds,
    overlap,
    pixel_average_precision,
    pointing_hits,
)
from medcnn.cam.scores.reliance import lesion_reliance, verdict
from medcnn.cam.scores.sanity import randomisation
from medcnn.cam.scores.similarity import rank_correlation, ssim
from medcnn.cam.scores.stability import agreement, noise_stability

__all__ = [
    "THRESHOLDS",
    "Candidates",
    "DeletionInsertion",
    "Froc",
    "Road",
    "agreement",
    "average_drop_increase",
    "box_iou",
    "candidates",
    "deletion_insertion",
    "energy_inside",
    "image_agreement",
    "image_deletion",
    "image_pointing_hits",
    "iou_at_thresholds",
    "lesion_reliance",
    "linear_imputation",
    "middle_image",
    "noise_stability",
    "overlap",
    "pixel_average_precision",
    "pointing_hits",
    "randomisation",
    "rank_correlation",
    "road",
    "ssim",
    "verdict",
]
