import json
import math
from pathlib import Path

import numpy as np
import pytest
from compared_runs import page, sections, sweep
from fixture_runs import HOME, write_json, write_run

from medcnn.report.comparison.figures import STYLES, Axis, colour, parallel
from medcnn.report.comparison.sweep import Importance, axes, differing, importance, varied
from medcnn.report.comparison.sweep_section import _hint, is_sweep, sweep_section
from medcnn.report.runs import read_run


def test_settings_that_differ_without_paths(tmp_path: Path) -> None:
    one = {"optimizer.lr": 0.1, "dataset.root": f"{HOME}/a", "model.pretrained": True}
    two = {"optimizer.lr": 0.01, "dataset.root": f"{HOME}/b", "paths.data": "elsewhere"}
    paths = [write_run(tmp_path / "a", config=one), write_run(tmp_path / "b", config=two)]
    content = json.loads((paths[1] / "environment.json").read_text())
    content["libraries"]["torch"] = "2.7.0"
    write_json(paths[1] / "environment.json", content)
    found = differing([read_run(path) for path in paths])
    assert found == {
        "dataset.root": ["PATH (1)", "PATH (2)"],
        "model.pretrained": [True, False],
        "optimizer.lr": [0.1, 0.01],
        "version of torch": ["2.6.0", "2.7.0"],
    }
    shown = page(paths)
    assert {"yes", "no", "0.1", "0.01", "PATH (1)"} <= set(shown.of("td"))


def test_a_page_of_a_sweep(tmp_path: Path) -> None:
    runs = sweep(tmp_path, 10)
    shown = page(runs)
    assert sections(shown)[0] == "sweep"
    assert f"the {STYLES} runs with the highest validation score" in shown.text
    assert "The highest validation score (0.907) is that of 7-phantom; its AUROC" in shown.text
    assert [text for text in shown.of("th") if text.endswith("-phantom")][:2] == [
        "7-phantom", "2-phantom",
    ]  # fmt: skip
    said = next(label for label in shown.labels("svg") if label.startswith("Parallel"))
    assert "10 runs over optimizer.lr, model and validation score" in said
    assert "the best run has optimizer.lr 0.001 and model vgg" in said
    assert len([1 for tag, a in shown.tags if "way" in str(a.get("class", ""))]) == 10
    assert "With 10 runs this is a hint" in shown.text
    assert len([1 for label in shown.labels("svg") if label.startswith("ROC")]) == 1


def test_what_a_sweep_varied(tmp_path: Path) -> None:
    runs = [read_run(path) for path in sweep(tmp_path, 4)]
    assert varied(runs) == {
        "optimizer.lr": ["0.1", "0.01", "0.001", "0.0001"],
        "model": ["lenet", "vgg", "lenet", "vgg"],
    }
    status = json.loads((runs[0].path / "status.json").read_text())
    write_json(runs[0].path / "status.json", {**status, "overrides": ["~model.depth", "model=vgg"]})
    first = varied([read_run(run.path) for run in runs])
    assert first["optimizer.lr"][0] == 0.1  # of the config
    assert first["model.depth"] == ["(removed)", 18, 18, 18]


def test_runs_that_were_started_one_by_one(tmp_path: Path) -> None:
    paths = [
        write_run(
            tmp_path / str(k), overrides=("seed=1",),
            config={"model.name": "ab"[k // 2], "model.depth": 5 + k // 2, "optimizer.lr": k},
        )
        for k in range(4)
    ]  # fmt: skip
    runs = [read_run(path) for path in paths]
    assert not is_sweep(runs)
    assert varied(runs) == {"model.name": ["a", "a", "b", "b"], "optimizer.lr": [0, 1, 2, 3]}


def test_importance_finds_what_matters() -> None:
    generator = np.random.default_rng(0)
    rate, noise = generator.uniform(size=(2, 40))
    model = np.where(generator.uniform(size=40) < 0.5, "a", "b").tolist()
    scores = [*(rate + 0.3 * (np.array(model) == "b")).tolist(), None]
    settings = {
        "noise": [*noise.tolist(), 0.0], "rate": [*rate.tolist(), 9.0], "model": [*model, "b"],
    }  # fmt: skip
    found = importance(settings, scores)
    assert found is not None
    assert list(found.shares) == ["rate", "model", "noise"]
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.shares["rate"] > 0.5 > found.shares["model"] > 0.1 > found.shares["noise"]
    assert (found.explained > 0.7, found.runs) == (True, 40)


def test_importance_of_nothing() -> None:
    assert importance({}, [0.1] * 9) is None
    assert importance({"a": list(range(9))}, [0.5] * 9) is None
    assert importance({"a": [1, 2, 3, 4]}, [0.1, 0.2, 0.3, 0.4]) is None
    assert importance({"a": list(range(5))}, [0.1, 0.2, 0.3, 0.4, None]) is None
    constant = importance({"a": [1] * 6}, [0.1, 0.5, 0.2, 0.9, 0.3, 0.4])
    assert constant is not None
    assert constant.shares == {"a": 0.0}
    assert constant.explained <= 0


def test_a_sweep_of_too_few_runs_and_one_without_settings(tmp_path: Path) -> None:
    few = sweep_section([read_run(path) for path in sweep(tmp_path / "few", 3)], list("abc"))
    assert few["importance"] is None
    assert "3 runs with a validation score are too few" in few["hint"]
    paths = sweep(tmp_path / "same", 8, overrides=())
    for path in paths:
        (path / "config.yaml").unlink()
    same = sweep_section([read_run(path) for path in paths], list("abcdefgh"))
    assert (same["chart"], same["settings"]) == ("", [])


def test_how_far_importance_is_to_be_trusted() -> None:
    for explained, runs, end in (
        (
            0.8,
            30,
            "80 % of the variance of the scores of runs that its trees haven't seen.",
        ),
        (0.8, 12, "With 12 runs this is a hint, not a finding."),
        (-0.4, 40, "so these numbers mean nothing."),
    ):
        assert _hint(Importance({}, explained, runs), runs).endswith(end)


def test_a_sweep_with_unknown_scores(tmp_path: Path) -> None:
    runs = sweep(tmp_path, 3)
    for path in runs:
        status = json.loads((path / "status.json").read_text())
        write_json(path / "status.json", {**status, "best": None, "seconds": None})
    shown = page(runs)
    assert "Parallel" not in " ".join(shown.labels("svg"))
    assert "The highest AUROC" in shown.text
    assert "isn't shown: 0 runs" in shown.text


def test_a_sweep_whose_best_run_has_no_figure_in_the_test(tmp_path: Path) -> None:
    runs = sweep(tmp_path, 3)
    content = json.loads((runs[2] / "evaluation.json").read_text())
    content["levels"]["image"]["figures"]["auroc"]["value"] = None
    write_json(runs[2] / "evaluation.json", content)
    assert "(0.902) is that of 2-phantom." in page(runs).text


def test_axes_of_parallel_coordinates() -> None:
    settings = {
        "lr": ["0.0001", "0.1", "0.01", "0.001", "1", "0.02"],
        "width": [1.0, 2.0, 3.5, 4.0, 9.0, 10.0],
        "model": ["vgg", "a-very-long-name-of-a-net", "vgg", "vgg", "vgg", None],
        "same": [3, 3, 3, 3, 3, 3],
        "left out": [1, 2, 3, 4, 5, 6],
    }
    shown = axes(settings, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], ["model", "same", "lr", "width"])
    assert [axis.name for axis in shown] == ["lr", "width", "model", "same", "validation score"]
    rate, width, model, same, score = shown
    assert rate.places == pytest.approx([0, 0.75, 0.5, 0.25, 1, (4 + math.log10(0.02)) / 4])
    assert list(rate.ticks.values()) == ["0.0001", "0.001", "0.01", "0.1", "1"]
    assert width.places[2] == pytest.approx(2.5 / 9)
    words = list(width.ticks.values())
    assert (words[0], words[-1]) == ("1", "10")
    assert sorted(model.ticks.values()) == ["a-very-long-n…", "vgg", "–"]
    assert (same.places.tolist(), same.ticks) == ([0.5] * 6, {0.5: "3"})
    assert (score.places[0], score.places[-1]) == (0, 1)
    only = axes({"model": ["vgg", "vgg"]}, [0.1, 0.1], ["model"])
    assert only[0].places.tolist() == [0.5, 0.5]


def test_words_on_an_axis_do_not_overlap() -> None:
    axis = axes({"lr": [0.0, 0.001, 0.002, 1.0]}, [0.1, 0.2, 0.3, 0.4], ["lr"])[0]
    assert list(axis.ticks.values()) == ["0", "1"]


def test_parallel_coordinates_draw_the_best_last() -> None:
    first = Axis("optimizer.weight_decay", np.array([0.0, 1.0]), {0.0: "0", 1.0: "<1>"})
    drawn = parallel([first, Axis("score", np.array([1.0, 0.0]), {})], ["best", "<worst>"], "said")
    assert drawn.index("&lt;worst&gt;") < drawn.index('class="way best"')
    assert "&lt;1&gt;" in drawn
    assert ">optimizer.<" in drawn
    assert ">weight_decay<" in drawn
    assert drawn.count("way best") == 1


def test_the_colours_of_scores_are_seen_on_white_and_on_black() -> None:
    def luminance(code: str) -> float:
        channels = [int(code[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark = luminance("#15181c")
    for share in np.linspace(0, 1, 21):
        own = luminance(colour(float(share)))
        assert 1.05 / (own + 0.05) >= 3
        assert (own + 0.05) / (dark + 0.05) >= 3
