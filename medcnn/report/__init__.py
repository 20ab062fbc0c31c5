"""Run directories to pictures and tables."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medcnn.report.comparison.summary_csv import summary_table as summary_table
    from medcnn.report.comparison.summary_csv import write_summary as write_summary
    from medcnn.report.maps.gallery import gallery as gallery
    from medcnn.report.maps.item import GalleryItem as GalleryItem
    from medcnn.report.maps.nifti import map_to_source as map_to_source
    from medcnn.report.maps.nifti import write_nifti as write_nifti
    from medcnn.report.maps.overlay import overlay as overlay
    from medcnn.report.maps.page import write_cam_page as write_cam_page
    from medcnn.report.maps.volume import draw_mosaic as draw_mosaic
    from medcnn.report.maps.volume import draw_planes as draw_planes
    from medcnn.report.pictures.training_curves import curves as curves
    from medcnn.report.run.model_card import write_model_card as write_model_card
    from medcnn.report.run.page import write_run_page as write_run_page

PLACES = {
    "comparison.summary_csv": ("summary_table", "write_summary"),
    "maps.gallery": ("gallery",),
    "maps.item": ("GalleryItem",),
    "maps.nifti": ("map_to_source", "write_nifti"),
    "maps.overlay": ("overlay",),
    "maps.page": ("write_cam_page",),
    "maps.volume": ("draw_mosaic", "draw_planes"),
    "pictures.training_curves": ("curves",),
    "run.model_card": ("write_model_card",),
    "run.page": ("write_run_page",),
}


def __getattr__(name: str) -> Any:
    """Import a name, and with it PyTorch, only when it is asked for."""
    for place, names in PLACES.items():
        if name in names:
            return getattr(import_module(f"medcnn.report.{place}"), name)
    raise AttributeError(f"module 'medcnn.report' has no attribute {name!r}")
