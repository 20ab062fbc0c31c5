"""The page of a run in a real browser."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from fixture_runs import add_label_issues, add_volume_and_colour, whole_evaluation, write_run
from PIL import Image

from medcnn.report.maps.scale import colours
from medcnn.report.run.page import write_run_page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-playwright-python isn't installed"
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
    pytest.mark.no_cover,  # twice as slow with coverage; other tests cover the lines
]
Theme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        one = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two levels, maps, errors, doubtful labels; the first picture is black, its map grey steps."""
    run = tmp_path_factory.mktemp("page") / "run"
    write_run(run, patients=156, images=2, evaluation=whole_evaluation(), maps=10)
    layers = run / "cams" / "layers"
    Image.new("L", (8, 8)).save(layers / "0.png")
    Image.new("L", (8, 8)).save(layers / "0-mask.png")
    steps = np.tile(np.array([0, 32, 64, 102, 128, 153, 204, 255], np.uint8), (8, 1))
    Image.fromarray(steps).save(layers / "0-map.png")
    add_volume_and_colour(run / "cams")
    add_label_issues(run)
    return write_run_page(run)


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Any]:
    """A function that opens the page; ``page.heard`` is all that it asks for or complains of."""
    contexts = []

    def open_page(theme: Theme = "light", width: int = 1200, script: bool = True) -> Any:
        context = browser.new_context(
            color_scheme=theme, viewport={"width": width, "height": 900}, device_scale_factor=1,
            java_script_enabled=script,
        )  # fmt: skip
        contexts.append(context)
        page = context.new_page()
        page.heard = []
        page.on("console", lambda message: page.heard.append(message.text))
        page.on("pageerror", lambda error: page.heard.append(str(error)))
        page.on("request", lambda request: page.heard.append(request.url))
        page.goto(report.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


def pixels(page: Any, selector: str) -> np.ndarray[Any, Any]:
    picture = page.locator(selector).first.screenshot()
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), np.int64)


def steps(page: Any) -> np.ndarray[Any, Any]:
    """(8, 3) the colour in the middle of each of the eight columns of the first map."""
    shown = pixels(page, "#maps .picture")
    at = (np.arange(8) + 0.5) * shown.shape[1] / 8
    return shown[shown.shape[0] // 2, at.astype(int)]


def put(page: Any, slider: str, value: int) -> None:
    """Moves a slider by the keyboard alone."""
    page.locator(f"#{slider}").focus()
    page.keyboard.press("Home")
    for _ in range(value // 5):
        page.keyboard.press("ArrowRight")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_opens_alone_and_in_silence(opened: Any, report: Path, theme: Theme) -> None:
    page = opened(theme)
    page.wait_for_timeout(200)
    asked = [text for text in page.heard if not text.startswith("data:")]
    assert asked == [report.as_uri()]
    assert page.title() == "Test report: breast ultrasound"
    back = pixels(page, "body")[2, 2]
    assert (back > 240).all() if theme == "light" else (back < 40).all()


@pytest.mark.parametrize(("theme", "width"), [("light", 1200), ("dark", 390)])
def test_accessible(opened: Any, theme: Theme, width: int) -> None:
    page = opened(theme, width)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    found = axe.Axe().run(page).response["violations"]
    assert [(v["id"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found] == []


def test_nothing_is_wider_than_a_phone(opened: Any) -> None:
    page = opened(width=390)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_colours_of_a_map(opened: Any) -> None:
    """Over black, at 80 %: the colours of all maps of medcnn, as opaque as there."""
    page = opened()
    page.mouse.move(0, 0)
    table = colours(signed=False)(np.array([0, 32, 64, 102, 128, 153, 204, 255]))
    expected = 255 * table[:, :3] * table[:, 3:]
    assert np.abs(steps(page) - expected).max() <= 2
    put(page, "opacity", 40)
    assert np.abs(steps(page) - expected / 2).max() <= 2


def test_sliders_work_on_all_maps_by_keyboard(opened: Any) -> None:
    page = opened()
    before = [pixels(page, place) for place in ("#maps .maps", "#errors .maps")]
    put(page, "opacity", 0)
    assert page.locator("#opacity-value").inner_text() == "0 %"
    after = [pixels(page, place) for place in ("#maps .maps", "#errors .maps")]
    for first, second in zip(before, after, strict=True):
        changed = np.abs(first - second).max(2) > 8
        assert changed.mean() > 0.03
    assert (steps(page) == 0).all()  # the image alone
    put(page, "opacity", 80)
    full = steps(page)
    put(page, "threshold", 40)
    assert page.locator("#threshold-value").inner_text() == "40 %"
    least = 0.4 * 255
    kept = np.array([0, 32, 64, 102, 128, 153, 204, 255]) >= least - 1e-9
    assert (steps(page)[~kept] == 0).all()
    assert (steps(page)[kept] == full[kept]).all()
    put(page, "threshold", 100)
    assert (steps(page)[:-1] == 0).all()
    assert (steps(page)[-1] == full[-1]).all()
    put(page, "threshold", 0)
    assert (steps(page) == full).all()


def test_a_volume_is_scrolled_by_keyboard(opened: Any) -> None:
    """Each slice has a grey of its own; the other planes say where it lies."""
    page = opened()
    put(page, "opacity", 0)
    axial, coronal, sagittal = (f".volume .pane >> nth={k}" for k in range(3))
    heights = [page.locator(pane).bounding_box() for pane in (axial, coronal, sagittal)]
    ratios = [box["height"] / box["width"] for box in heights]
    assert ratios == pytest.approx([40 / 30, 60 / 30, 60 / 40], rel=0.01)  # mm
    assert heights[0]["width"] / heights[2]["width"] == pytest.approx(30 / 40, rel=0.01)
    slider = page.locator(".scroll input")
    assert slider.get_attribute("aria-valuetext") == "slice 5 of 10"
    for key, number in (("ArrowRight", 6), ("Home", 1), ("End", 10)):
        slider.press(key)
        assert slider.get_attribute("aria-valuetext") == f"slice {number} of 10"
        assert page.locator(".scroll output").inner_text() == f"slice {number} of 10"
        grey = pixels(page, axial)[-20:-10, 40:60]
        assert np.abs(grey - 255 * (number - 1) / 10).max() <= 2
        line, box = (page.locator(f"{coronal} >> {it}").bounding_box() for it in ("i", ".under"))
        assert line["y"] - box["y"] == pytest.approx((10.5 - number) / 10 * box["height"], abs=2)


def test_an_image_in_colour_stands_beside_its_map(opened: Any) -> None:
    page = opened()
    plain, under = (pixels(page, f".colour .picture >> nth={k}")[-15, -15] for k in (0, 1))
    assert np.abs(plain - [204, 26, 26]).max() <= 2
    assert np.ptp(under) <= 2


def test_the_outline_can_be_taken_away(opened: Any) -> None:
    page = opened()
    lesions = page.locator(".lesion")
    assert lesions.count() > 3
    assert lesions.last.is_visible()
    page.locator("#outline").focus()
    page.keyboard.press("Space")
    assert not lesions.last.is_visible()


def test_levels_by_keyboard(opened: Any) -> None:
    page = opened()
    images, patients = (page.locator(f"#ranking .of-{k}") for k in (1, 2))
    assert images.is_visible()
    assert not patients.is_visible()
    page.locator("#level-1").focus()
    page.keyboard.press("ArrowDown")
    assert not images.is_visible()
    assert patients.is_visible()


def test_without_a_script_levels_and_maps_are_still_there(opened: Any) -> None:
    page = opened(script=False)
    assert not page.locator("#opacity").is_visible()
    page.locator("label", has_text="156 patients").click()
    assert page.locator("#ranking .of-2").is_visible()
    assert steps(page)[-1].max() > 150


def test_prints_all_levels(opened: Any) -> None:
    page = opened("dark")
    page.emulate_media(media="print")
    assert page.locator("#ranking .of-1").is_visible()
    assert page.locator("#ranking .of-2").is_visible()
    assert page.locator(".of-level").first.is_visible()
    assert not page.locator("#opacity").is_visible()
    assert len(page.pdf(format="A4")) > 50_000
