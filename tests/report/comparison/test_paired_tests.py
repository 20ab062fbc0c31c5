import math
from pathlib import Path

import pandas as pd
import pytest
from compared_runs import page, pair
from fixture_runs import predictions, write_run
from sklearn.metrics import brier_score_loss, mean_absolute_error, roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from medcnn.report.comparison.paired_tests import TESTED, Difference, paired_tests
from medcnn.report.comparison.tables import difference_table
from medcnn.report.runs import read_run


@pytest.mark.no_cover
def test_binary_differences_against_other_libraries(tmp_path: Path) -> None:
    paths = [*pair(tmp_path), write_run(tmp_path / "third", seed=3, quality=1.0)]
    paired = paired_tests([read_run(path) for path in paths], ["a", "b", "c"])
    found = {(d.first, d.second, d.figure): d for d in paired.differences}
    assert (paired.reasons, paired.clustered) == ([], False)
    assert {key[2] for key in found} == set(TESTED["binary"])
    made = [predictions("binary", *key, 60, 1) for key in ((1, 2.5), (2, 0.3), (3, 1.0))]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        (_, p, truth, d), (_, q, _, e) = made[first], made[second]
        area = roc_auc_score(truth, p[:, 1]) - roc_auc_score(truth, q[:, 1])
        assert found[first, second, "auroc"].difference == pytest.approx(area, abs=1e-9)
        ours = [brier_score_loss(truth, probs[:, 1]) for probs in (p, q)]
        brier = found[first, second, "brier"].difference
        assert brier == pytest.approx(ours[0] - ours[1], abs=1e-9)
        a, b = d == truth, e == truth
        counts = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
        exact = mcnemar(counts, exact=True)
        mid = exact.pvalue - math.comb(
            int(counts[0][1] + counts[1][0]), int(min(counts[0][1], counts[1][0]))
        ) * 0.5 ** int(counts[0][1] + counts[1][0])
        one = found[first, second, "accuracy"]
        assert one.difference == pytest.approx(a.mean() - b.mean())
        assert one.p == pytest.approx(mid, abs=1e-9)
    for figure in TESTED["binary"]:
        mine = [d for d in paired.differences if d.figure == figure]
        expected = multipletests([d.p for d in mine], method="holm")[1]
        assert [d.corrected for d in mine] == pytest.approx(expected.tolist())
        assert all(d.low <= d.difference <= d.high for d in mine)


def test_images_of_one_patient_go_to_the_bootstrap(tmp_path: Path) -> None:
    alone = paired_tests(list(map(read_run, pair(tmp_path / "1"))), ["a", "b"])
    together = paired_tests(
        list(map(read_run, pair(tmp_path / "2", images=3, patients=20))), ["a", "b"]
    )
    assert (alone.clustered, together.clustered) == (False, True)
    first, second = (
        next(d for d in one.differences if d.figure == "accuracy") for one in (alone, together)
    )
    assert first.difference == pytest.approx(second.difference)
    assert first.p != second.p
    assert second.p * 2001 / 2 == pytest.approx(round(second.p * 2001 / 2))  # of 2,000 resamples


def test_regression_differences(tmp_path: Path) -> None:
    paired = paired_tests(list(map(read_run, pair(tmp_path, "regression"))), ["a", "b"])
    (_, p, truth, _), (_, q, _, _) = (
        predictions("regression", *key, 60, 1) for key in ((1, 2.5), (2, 0.3))
    )
    found = {d.figure: d for d in paired.differences}
    error = mean_absolute_error(truth, p) - mean_absolute_error(truth, q)
    assert list(found) == ["mae", "rmse", "r2"]
    assert found["mae"].difference == pytest.approx(error)
    assert found["mae"].high < 0 < found["r2"].low


def test_the_order_of_the_images_does_not_matter(tmp_path: Path) -> None:
    runs = pair(tmp_path)
    before = paired_tests(list(map(read_run, runs)), ["a", "b"]).differences
    table = pd.read_csv(runs[1] / "predictions.csv")
    other = table.head(3).assign(split="val", image="elsewhere")
    pd.concat([other, table.sample(frac=1, random_state=0)]).to_csv(
        runs[1] / "predictions.csv", index=False
    )
    after = paired_tests(list(map(read_run, runs)), ["a", "b"]).differences
    assert after == before


def test_runs_of_other_images_are_not_tested(tmp_path: Path) -> None:
    runs = [*pair(tmp_path), write_run(tmp_path / "more", seed=4, patients=80)]
    shown = page(runs)
    assert "good and more tested other images (60 and 80, 60 of them the same)" in shown.text
    assert "bad and more tested other images" in shown.text
    assert "of 1 pairs differ" in shown.text
    alone = page([runs[0], runs[2]])
    assert "First run minus second" not in alone.text
    assert "Test of" not in alone.text
    assert "beyond chance" not in alone.text


def test_labels_that_differ_and_predictions_without_images(tmp_path: Path) -> None:
    runs = pair(tmp_path)
    table = pd.read_csv(runs[1] / "predictions.csv")
    table["label"] = table["label"].where(table["row"] > 502, "malignant")
    table.to_csv(runs[1] / "predictions.csv", index=False)
    changed = int((predictions("binary", 2, 0.3, 60, 1)[2][:3] == 0).sum())
    reasons = paired_tests(list(map(read_run, runs)), ["a", "b"]).reasons
    assert changed
    assert reasons == [f"a and b have different labels for {changed} of the images."]
    table.drop(columns="image").to_csv(runs[1] / "predictions.csv", index=False)
    reasons = paired_tests(list(map(read_run, runs)), ["a", "b"]).reasons
    assert reasons == ["b is left out: its predictions.csv doesn't name images and patients."]


def test_slices_of_one_file_and_unknown_labels(tmp_path: Path) -> None:
    runs = pair(tmp_path)
    for path in runs:
        table = pd.read_csv(path / "predictions.csv")
        table["image"] = table["image"].where(table["row"] > 510, "volume.nii")
        table["patient"] = table["patient"].where(table["row"] > 510, "one")
        table.loc[table["row"] > 540, "label"] = None
        table.to_csv(path / "predictions.csv", index=False)
    paired = paired_tests(list(map(read_run, runs)), ["a", "b"])
    (_, p, truth, _), (_, q, _, _) = (
        predictions("binary", *key, 60, 1) for key in ((1, 2.5), (2, 0.3))
    )
    area = roc_auc_score(truth[:41], p[:41, 1]) - roc_auc_score(truth[:41], q[:41, 1])
    assert paired.differences[0].difference == pytest.approx(area)
    assert paired.clustered


def test_one_class_alone_has_no_auroc(tmp_path: Path) -> None:
    runs = pair(tmp_path)
    for path in runs:
        table = pd.read_csv(path / "predictions.csv")
        table[table["label"] == "benign"].to_csv(path / "predictions.csv", index=False)
    paired = paired_tests(list(map(read_run, runs)), ["a", "b"])
    found = {d.figure: d for d in paired.differences}
    assert math.isnan(found["auroc"].difference)
    assert math.isnan(found["auroc"].corrected)
    assert found["accuracy"].difference > 0
    shown = page(runs)
    assert "beyond chance" not in shown.text


def test_equal_runs_do_not_differ(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, seed=1) for name in "ab"]
    shown = page(runs)
    assert "no two of them differ in AUROC beyond chance" in shown.text
    assert "All runs have the same settings." in shown.text
    assert "0.000" in shown.of("td")


def test_the_table_of_differences() -> None:
    nan = float("nan")
    known = Difference(0, 1, "auroc", 0.25, 0.125, 0.5, 0.001, 0.002)
    rest = Difference(0, 1, "brier", -0.125, nan, nan, nan)
    table = difference_table([known, rest], ["a", "b"])
    assert table is not None
    first, second = table.rows[0].cells
    assert (table.rows[0].name, table.rows[0].about) == ("a", "minus b")
    assert (first.value, first.below, first.bold) == ("+0.250", "[+0.125, +0.500]\np = 0.002", True)
    assert (second.value, second.below, second.mark, second.bold) == ("−0.125", "", "", False)
    assert difference_table([], []) is None


def test_the_summary_names_some_of_many_pairs(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"good{k}", seed=k, quality=4.0) for k in range(3)]
    runs += [write_run(tmp_path / f"bad{k}", seed=9 + k, quality=0.0) for k in range(3)]
    text = page(runs).text
    assert "9 of 15 pairs differ in AUROC beyond chance: good0 lies" in text
    assert "5 more." in text
