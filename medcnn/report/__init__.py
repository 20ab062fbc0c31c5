"""Run directories to pictures and tables."""

from medcnn.report.cam_gallery import GalleryItem, gallery
from medcnn.report.summary import summary_table, write_summary
from medcnn.report.training_curves import curves

__all__ = ["GalleryItem", "curves", "gallery", "summary_table", "write_summary"]
