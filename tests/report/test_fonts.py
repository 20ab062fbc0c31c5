import matplotlib
import pytest
from matplotlib import font_manager

from medcnn.report import fonts


def test_signs_that_no_font_has() -> None:
    with matplotlib.rc_context({"font.family": ["sans-serif", "DejaVu Sans"]}):
        assert fonts.lacking(["café", "R²", "正常 ill"]) == "常正"


def test_fonts_that_are_there_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(font_manager, "get_font_names", lambda: ["SimHei", "Noto Sans CJK SC"])
    with matplotlib.rc_context({"font.family": ["sans-serif", "SimHei"]}):
        fonts.add_fallbacks()
        assert matplotlib.rcParams["font.family"] == ["sans-serif", "SimHei", "Noto Sans CJK SC"]
