import warnings
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from medcnn.report import figure_files
from medcnn.report.figure_files import lacking, legible, save_figure


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Families that have characters which matplotlib's own font lacks; first none."""
    families: dict[str, str] = {}
    monkeypatch.setattr(figure_files, "_other", lambda character: families.get(character, ""))
    return families


def titled(text: str) -> Figure:
    figure = Figure()
    figure.subplots().set_title(text)
    return figure


def test_characters_without_a_font_are_shown_as_codes(
    tmp_path: Path, installed: dict[str, str]
) -> None:
    figure = titled("true: 良性 µ 0.91")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(figure, tmp_path / "x" / "a.png")
    assert figure.axes[0].get_title() == "true: [826F][6027] µ 0.91"
    assert Image.open(tmp_path / "x" / "a.png").size == (640, 480)


def test_a_font_that_is_installed_is_taken(installed: dict[str, str]) -> None:
    installed["良"] = "DejaVu Serif"  # as if it had it
    figure = titled("良 ½")
    legible(figure)
    assert figure.axes[0].get_title() == "良 ½"
    assert figure.axes[0].title.get_fontfamily()[-1] == "DejaVu Serif"
    plain = titled("naïve")
    before = plain.axes[0].title.get_fontfamily()
    legible(plain)
    assert plain.axes[0].title.get_fontfamily() == before


def test_fonts_are_asked_for_the_character() -> None:
    assert figure_files._other("é") != ""
    assert figure_files._other("\U0010fffd") == ""  # nobody's


def test_signs_that_no_font_has(installed: dict[str, str]) -> None:
    installed["病"] = "x"
    assert lacking(["café", "R²", "正常 ill", "病"]) == "常正"
