"""Run directories to pictures and tables."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medcnn.report.comparison.summary_csv import summary_table, write_summary
    from medcnn.report.maps.gallery import gallery
    from medcnn.report.maps.item import GalleryItem
    from medcnn.report.maps.nifti import map_to_source, write_nifti
    from medcnn.report.maps.overlay import overlay
    from medcnn.report.maps.page import write_page as write_cam_page
    from medcnn.report.maps.volume import draw_mosaic, draw_planes
    from medcnn.report.pictures.training_curves import curves
    from medcnn.report.run.model_card import write_model_card
    from medcnn.report.run.page import write_run_page

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
    "GalleryItem": "maps.item",
    "curves": "pictures.training_curves",
    "draw_mosaic": "maps.volume",
    "draw_planes": "maps.volume",
    "gallery": "maps.gallery",
    "map_to_source": "maps.nifti",
    "overlay": "maps.overlay",
    "summary_table": "comparison.summary_csv",
    "write_cam_page": "maps.page",
    "write_model_card": "run.model_card",
    "write_nifti": "maps.nifti",
    "write_run_page": "run.page",
    "write_summary": "comparison.summary_csv",
}


def __getattr__(name: str) -> Any:
    """Import a name, and with it PyTorch, only when it is asked for."""
    if name not in PLACES:
        raise AttributeError(f"module 'medcnn.report' has no attribute {name!r}")
    module = import_module(f"medcnn.report.{PLACES[name]}")
    return getattr(module, "write_page" if name == "write_cam_page" else name)
