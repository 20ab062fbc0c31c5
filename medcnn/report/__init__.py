"""Run directories to pictures and tables."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
PLACES = {  # names, and where they are
    "GalleryItem": "cam_item",
    "curves": "training_curves",
    "draw_mosaic": "cam_volume",
    "draw_planes": "cam_volume",
    "gallery": "cam_gallery",
    "map_to_source": "cam_nifti",
    "overlay": "cam_overlay",
    "summary_table": "summary",
    "write_cam_page": "cam_page",
    "write_model_card": "model_card",
    "write_nifti": "cam_nifti",
    "write_run_page": "run_page",
    "write_summary": "summary",
}


def __getattr__(name: str) -> Any:
    """Import a name, and with it PyTorch, only when it is asked for."""
    if name not in PLACES:
        raise AttributeError(f"module 'medcnn.report' has no attribute {name!r}")
    module = import_module(f"medcnn.report.{PLACES[name]}")
    return getattr(module, "write_page" if name == "write_cam_page" else name)
