"""Run directories to pictures and tables."""

from medcnn.report.cam_gallery import gallery
from medcnn.report.cam_item import GalleryItem
from medcnn.report.cam_nifti import map_to_source, write_nifti
from medcnn.report.cam_overlay import overlay
from medcnn.report.cam_page import write_page as write_cam_page
from medcnn.report.cam_volume import draw_mosaic, draw_planes
from medcnn.report.model_card import write_model_card
from medcnn.report.run_page import write_run_page
from medcnn.report.summary import summary_table, write_summary
from medcnn.report.training_curves import curves

__all__ = [
    "GalleryItem",
    "curves",
    "draw_mosaic",
    "draw_planes",
    "gallery",
    "map_to_source",
    "overlay",
    "summary_table",
    "write_cam_page",
    "write_model_card",
    "write_nifti",
    "write_run_page",
    "write_summary",
]
