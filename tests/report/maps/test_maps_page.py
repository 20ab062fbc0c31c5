import base64
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from html_page import Page
from PIL import Image

from medcnn.report.maps.page import write_cam_page
from medcnn.report.maps.words import SCORES, words_of
from medcnn.report.tables import best_of

SETTINGS = {"data": "phantom", "split": "test", "methods": ["cam", "gradcam"], "stage": "last"}


def record(
    group: str, method: str | None, score: str, value: Any, **changes: Any
) -> dict[str, Any]:
    near = (
        {"low": None, "high": None} if value is None else {"low": value - 0.1, "high": value + 0.1}
    )
    known = {"group": group, "method": method, "score": score, "class": None, "value": value}
    return {**known, **near, "n": 50, **changes}


def page(folder: Path, scores: list[dict[str, Any]], **changes: Any) -> Page:
    content = {"settings": SETTINGS, "scores": scores, "notes": [], **changes}
    (folder / "scores.json").write_text(json.dumps(content))
    out = write_cam_page(folder)
    assert out == folder / "index.html"
    return Page(out.read_text(encoding="utf-8"))


def test_a_whole_page(tmp_path: Path) -> None:
    for k, name in enumerate(("gradcam", "cam", "other")):
        Image.new("L", (8 + k, 8)).save(tmp_path / f"gallery-{name}.png")
    shown = page(
        tmp_path,
        [
            record("localisation", "gradcam", "pointing_game", 0.4),
            record("localisation", "cam", "pointing_game", 0.7),
            record("localisation", "oracle", "pointing_game", 0.95),
            record("localisation", "centre", "pointing_game", 0.2),
            record("localisation", "cam", "pointing_game", 0.6, **{"class": "nodule"}),
            record("reliance", None, "reliance", 0.3),
            record("faithfulness", "cam", "deletion", None, n=0),
        ],
        notes=["A sentence."],
    )
    assert shown.of("h1") == ["Evidence: phantom"]
    assert shown.of("h2") == [
        "Maps",  # pictures before tables
        "Localisation",
        "Reliance",
        "Faithfulness",
        "How it was made",
    ]
    assert shown.of("p")[:3] == [
        "Maps of the test split of phantom, made by cam and gradcam.",
        "Of these methods cam hits the lesion most often, in 70 % of the images; the intervals of "
        "the others lie below.",
        "A sentence.",
    ]
    assert [text for text in shown.of("th") if text not in ("map", "pointing game")][:4] == [
        "gradcam", "cam", "centre", "oracle",
    ]  # fmt: skip
    assert shown.of("strong") == ["0.700"]
    assert "[0.600, 0.800]" in shown.of("small")
    assert "a blob in the middle of the image" in shown.of("small")
    assert shown.of("td").count("–") == 1
    assert "(higher is better)" in shown.of("span")
    assert "(lower is better)" in shown.of("span")
    images = [attributes for tag, attributes in shown.tags if tag == "img"]
    files = [tmp_path / f"gallery-{name}.png" for name in ("cam", "gradcam", "other")]
    for image, file in zip(images, files, strict=True):
        head, data = (image["src"] or "").split(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(data) == file.read_bytes()
        assert file.stem.removeprefix("gallery-") in (image["alt"] or "")
    assert shown.of("dt")[-4:] == ["data", "split", "methods", "stage"]
    assert shown.of("dd")[-4:] == ["phantom", "test", "cam, gradcam", "last"]


def test_nothing_is_loaded_and_headings_are_in_order(tmp_path: Path) -> None:
    shown = page(tmp_path, [record("sanity", "cam", "cascading_0_head_rank", 0.1)])
    for _, attributes in shown.tags:
        for key in ("src", "href"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:", "#"))
    text = (tmp_path / "index.html").read_text()
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert str(tmp_path) not in text
    ids = [a["id"] for _, a in shown.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"] for t, a in shown.tags if t == "a"} == {f"#{name}" for name in ids}
    levels = [int(tag[1]) for tag, _ in shown.tags if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_everything_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('&')</script>"
    Image.new("L", (8, 8)).save(tmp_path / 'gallery-"><b>.png')
    shown = page(
        tmp_path,
        [record(evil, evil, evil, 0.5), record(evil, evil, evil, 0.5, **{"class": evil})],
        settings={"data": evil, evil: [evil], "methods": [evil]},
        notes=[evil],
    )
    assert [tag for tag, _ in shown.tags if tag in ("script", "b")] == ["script"]  # our own
    assert shown.of("h1") == [f"Evidence: {evil}"]
    assert evil in shown.of("p")
    assert evil in shown.of("h3")


def test_an_explanation_without_scores(tmp_path: Path) -> None:
    shown = page(tmp_path, [], settings={"a_b": None, "c": True, "d": [], "e": 0.5, "f": False})
    assert shown.of("h2") == ["How it was made"]
    assert shown.of("p") == ["Maps of the chosen split of a data set."]
    assert shown.of("dt") == ["a b", "c", "d", "e", "f"]
    assert shown.of("dd") == ["none", "yes", "none", "0.5", "no"]


def test_scores_of_the_decision_alone(tmp_path: Path) -> None:
    only = page(tmp_path, [record("reliance", None, "accuracy", 0.5)])
    assert "decision of" in only.of("th")


def test_overlapping_intervals_are_said_to_be(tmp_path: Path) -> None:
    rivals = [
        record("localisation", m, "pointing_game", v) for m, v in (("cam", 0.5), ("gradcam", 0.6))
    ]
    shown = page(tmp_path, rivals)
    assert "gradcam hits the lesion most often" in shown.text
    assert "overlap with it, so that this may be chance" in shown.text
    assert shown.of("strong") == []
    assert "In bold" not in shown.text
    assert "most often" not in page(tmp_path, rivals[:1]).text


def test_best(tmp_path: Path) -> None:
    high, low = record("x", "a", "iou", 0.9), record("x", "b", "iou", 0.1)
    middle, oracle = record("x", "c", "iou", 0.5), record("x", "oracle", "iou", 1.0)
    assert best_of([low, high, middle], 1) is high
    assert best_of([low, high, middle], -1) is low
    assert best_of([low, high], 0) is None
    assert best_of([high], 1) is None  # no rival
    assert best_of([high, {**middle, "high": 0.8}], 1) is None  # they touch
    assert best_of([high, {**middle, "low": None}], 1) is None
    unknown = record("x", "d", "iou", None)
    assert page(tmp_path, [high, low, oracle, unknown]).of("strong") == ["0.900"]


def test_counts_and_gaps(tmp_path: Path) -> None:
    shown = page(
        tmp_path,
        [
            record("faithfulness", "cam", "road", 0.4, n=20),
            record("faithfulness", "gradcam", "road", 0.4, n=30),
            record("faithfulness", "cam", "deletion", 0.4, n=7),
        ],
    )
    assert {"n = 20 … 30", "n = 7"} <= set(shown.of("small"))
    assert shown.of("td") == ["0.400", "0.400", "0.400", "–"]


def test_words() -> None:
    named = [
        "pointing_game", "energy_inside", "iou", "dice", "iobb", "pixel_ap", "deletion",
        "insertion", "road", "average_drop", "increase", "reliance", "randomisation_rank",
        "randomisation_ssim", "noise_stability", "seed_agreement", "marker_energy",
    ]  # fmt: skip
    named += [f"box_iou_{k / 10}" for k in range(1, 8)]
    named += [f"recall_at_{rate}" for rate in ("0.25", "0.5", "1", "2", "4")]
    for kind in ("accuracy", "prob"):
        named += [
            kind + end for end in ("", "_lesion_removed", "_elsewhere_removed", "_lesion_only")
        ]
    assert set(named) <= set(SCORES)
    for words in SCORES.values():
        assert words.title
        assert words.what
        assert not words.what.endswith(".")
    lower = {name for name, words in SCORES.items() if words.better == "lower"}
    assert lower == {
        "deletion", "average_drop", "empty", "randomisation_rank", "randomisation_ssim",
        "label_randomisation_rank", "label_randomisation_ssim",
    }  # fmt: skip
    assert words_of("cascading_3_layer1_rank").family.startswith("rank correlation, weights")
    assert words_of("x_y").title == "x y"


def test_the_same_words_stand_once(tmp_path: Path) -> None:
    parts = [f"cascading_{k}_{part}_ssim" for k, part in enumerate(("head", "layer4", "stem"))]
    shown = page(tmp_path, [record("sanity", "cam", part, 0.2) for part in parts])
    assert {"head", "layer4", "stem"} <= set(shown.of("th"))
    assert len([text for text in shown.of("dt") if text.startswith("SSIM, weights")]) == 1
