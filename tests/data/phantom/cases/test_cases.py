from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ks_2samp
from sklearn.metrics import roc_auc_score

from medcnn.data.phantom.anatomy import Draws, draw_anatomy
from medcnn.data.phantom.attenuation import TISSUES
from medcnn.data.phantom.cases import column, energies, views
from medcnn.data.phantom.ct import CT_RANGE
from medcnn.data.phantom.dataset import phantom
from medcnn.data.phantom.lesion import calcified
from medcnn.data.phantom.patients import generator_of
from medcnn.data.samples import SPLITS, Samples
from medcnn.data.studies import studies_of
from medcnn.errors import UserError

CASES = {"energies": 32, "views": 32, "slices": 32, "column": 16}  # pixels of an edge
FEW = 24  # patients


@pytest.fixture(scope="module")
def made() -> dict[str, Samples]:
    return {case: make(case) for case in CASES}


def make(case: str, **options: Any) -> Samples:
    return phantom(case=case, **{"size": CASES[case], "patients": FEW} | options)


def images_of(samples: Samples) -> torch.Tensor:
    return samples.images[torch.arange(len(samples))]


def masks_of(samples: Samples) -> torch.Tensor:
    assert samples.masks is not None
    return samples.masks[torch.arange(len(samples))]


@pytest.mark.parametrize("case", CASES)
def test_patients_have_one_label_one_split_and_the_classes_the_same_shares(
    case: str, made: dict[str, Samples]
) -> None:
    samples = made[case]
    assert (samples.task, samples.positive, samples.name) == ("binary", 1, f"phantom-{case}")
    by_patient = samples.table.groupby("patient")
    assert by_patient[["split", "label"]].nunique().eq(1).all(axis=None)
    counts = by_patient[["split", "label"]].first().value_counts()
    assert set(counts.index) == {(split, label) for split in SPLITS for label in (0, 1)}
    assert counts.groupby("label").sum().eq(FEW / 2).all()


@pytest.mark.parametrize("case", CASES)
def test_the_same_seed_gives_the_same_bits_and_more_patients_leave_the_first_as_they_are(
    case: str, made: dict[str, Samples]
) -> None:
    samples, more, other = made[case], make(case, patients=FEW + 7), make(case, seed=1)
    n = len(samples)
    assert torch.equal(images_of(more)[:n], images_of(samples))
    assert torch.equal(masks_of(more)[:n], masks_of(samples))
    assert more.table.iloc[:n].equals(samples.table)
    assert not torch.equal(images_of(other)[0], images_of(samples)[0])


def test_tissues_attenuate_as_the_formula_of_a_mixture_says() -> None:
    low, high = TISSUES[40], TISSUES[100]
    assert low.mixed(0) == low.soft
    assert low.mixed(1) == low.cortical == pytest.approx(0.6655 * 1.92)
    # bone loses more of its attenuation than soft tissue towards higher energies
    assert low.cortical / high.cortical > 1.6 * low.soft / high.soft


def test_one_energy_alone_says_little_and_the_two_together_say_all() -> None:
    draw, label = np.random.default_rng(0), np.arange(20_000) % 2
    depth = energies.depths(label, draw.uniform(size=len(label)))
    shadows = [
        depth * np.where(label == 0, calcified(tissues), 1) * (tissues.soft - tissues.lung)
        for tissues in (TISSUES[40], TISSUES[100])
    ]
    low, high = (roc_auc_score(label, shadow) for shadow in shadows)
    best = energies.auroc_of_one_channel()
    assert best == pytest.approx(0.629, abs=1e-3)
    assert (1 - low, high) == pytest.approx((best, best), abs=0.01)
    difference = np.log(shadows[1]) - np.log(shadows[0])
    assert roc_auc_score(label, difference) == pytest.approx(1)


def test_a_weighted_difference_of_the_energies_shows_calcium_alone() -> None:
    samples = make("energies", dose=1e9, bits=16)
    low, high = images_of(samples).double().unbind(1)
    soft = [tissues.soft - tissues.lung for tissues in (TISSUES[40], TISSUES[100])]
    without_soft = low - soft[0] / soft[1] * high
    masks, label = masks_of(samples), samples.labels
    assert samples.images.shape == (FEW, 2, 32, 32)
    assert masks.flatten(1).any(1).all()
    inside = torch.stack(
        [image[mask].mean() for image, mask in zip(without_soft, masks, strict=True)]
    )
    lungs = torch.stack(
        [image[~mask][300:700].median() for image, mask in zip(without_soft, masks, strict=True)]
    )
    assert roc_auc_score(label, lungs - inside) > 0.95


def test_each_view_hides_half_of_the_nodules_and_a_third_of_the_studies_lacks_one() -> None:
    samples = make("views", patients=400, size=16)
    table = samples.table.assign(seen=masks_of(samples).flatten(1).any(1).numpy())
    assert samples.images.shape == (len(table), 1, 16, 16)
    of_study = table.groupby("study")
    assert (of_study.size() == 1).mean() == pytest.approx(views.MISSING, abs=3 * 0.023)
    ill = table[table["label"] == 1]
    assert not table[table["label"] == 0]["seen"].any()
    assert ill.groupby("view")["seen"].mean().between(0.4, 0.6).all()
    whole = ill.groupby("study").filter(lambda films: len(films) == 2)
    assert whole.groupby("study")["seen"].sum().eq(1).all()
    # of one who sees what is to be seen, and doubts a single film without a nodule
    doubt = np.where(of_study.size() == 2, 0, 1 / 3)
    score = np.where(of_study["seen"].any(), 1, doubt)
    best = roc_auc_score(of_study["label"].first(), score)
    assert best == pytest.approx(views.auroc(), abs=0.02)
    frontal = table[table["view"] == "frontal"].set_index("study")["seen"]
    alone = np.where(frontal, 1, 1 / 3)
    score = pd.Series(alone, frontal.index).reindex(of_study["label"].first().index).fillna(0.5)
    one = roc_auc_score(of_study["label"].first(), score)
    assert one == pytest.approx(views.auroc_of_one_view(), abs=0.04)
    assert studies_of(table).view_names == views.VIEWS


@pytest.mark.parametrize("seed", range(4))
def test_a_nodule_is_whole_on_one_film_and_hidden_on_the_other(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the same films without discs: in every study, whatever is drawn."""
    monkeypatch.setattr(views, "MISSING", 0.0)
    samples = make("views", patients=200, size=32, seed=seed)
    shown = masks_of(samples)
    monkeypatch.setattr(views, "DISC", (1e-3, 1e-3))
    whole = masks_of(make("views", patients=200, size=32, seed=seed))
    ill = whole.flatten(1).any(1)
    assert torch.equal(ill, samples.labels == 1)
    hidden, seen = ~shown.flatten(1).any(1), (shown == whole).flatten(1).all(1)
    assert (hidden ^ seen)[ill].all()
    assert seen[ill].view(-1, 2).sum(1).eq(1).all()


def test_both_places_are_drawn_alike() -> None:
    """So a disc says nothing of a nodule behind it."""
    samples = 1500
    draws = Draws([generator_of(0, 2, patient, 0) for patient in range(samples)])
    anatomy = draw_anatomy(Draws([generator_of(0, 0, patient, 0) for patient in range(samples)]))
    study = views.draw_study(draws, anatomy, np.ones(samples, np.int64))
    for axis in range(3):
        places = study.nodule.place[:, axis], study.other.place[:, axis]
        assert ks_2samp(*places).pvalue > 0.001


def test_a_film_that_hides_the_nodule_is_that_of_a_normal_patient() -> None:
    """The nodule's shadow ends within that of the disc, which is white whatever is behind."""
    samples = make("views", dose=1e9, size=64)
    table, images, masks = samples.table, images_of(samples)[:, 0], masks_of(samples)
    white = (images == 255).flatten(1).sum(1)
    disc = np.pi * (views.DISC[0] / (31 / 64)) ** 2
    hidden = torch.tensor(table["label"] == 1) & ~masks.flatten(1).any(1)
    assert hidden.any()
    assert (white[hidden] >= 0.9 * disc).all()
    # what is seen of a nodule is seen whole: more than the disc's rim would leave
    seen = masks.flatten(1).sum(1)[masks.flatten(1).any(1)]
    smallest = np.pi * (0.85 * views.RADIUS[0] / (31 / 64)) ** 2
    assert (seen > 0.8 * smallest).all()


def test_few_slices_show_the_nodule_and_the_middle_one_rarely() -> None:
    samples = make("slices", patients=60)
    table = samples.table.assign(seen=masks_of(samples).flatten(1).any(1).numpy())
    assert samples.images.shape == (60 * 24, 1, 32, 32)
    assert table.groupby("study")["slice"].apply(list).map(lambda s: s == [*range(24)]).all()
    ill = table[table["label"] == 1]
    assert not table[table["label"] == 0]["seen"].any()
    assert ill.groupby("study")["seen"].sum().between(1, 3).all()
    assert ill[ill["slice"] == 12]["seen"].mean() < 0.35
    assert studies_of(table).together


def test_slices_go_from_the_feet_to_the_head_in_hounsfield_units() -> None:
    samples = make("slices", patients=12, split_shares=dict.fromkeys(SPLITS, 1))
    assert samples.intensity_range == CT_RANGE
    first = images_of(samples)[:24, 0].float()
    air = (first < -500).flatten(1).float().mean(1)  # lungs, and the air around
    assert air[12] > air[0] + 0.05  # the lowest slice is the abdomen


def test_film_and_column_tell_half_each_and_both_tell_all() -> None:
    samples = make("column", patients=600)
    table, label = samples.table, samples.labels
    nodule = masks_of(samples).flatten(1).any(1).numpy()
    best = column.auroc()
    assert roc_auc_score(label, nodule) == pytest.approx(best["film"], abs=0.005)
    group = np.arange(4000) % 4  # one of four has a nodule alone, one a marker alone
    cea = column.draw_cea(
        Draws([generator_of(0, 2, patient) for patient in range(4000)]), group % 3
    )
    assert roc_auc_score(group % 3 == column.BOTH, cea) == pytest.approx(best["cea"], abs=0.02)
    assert roc_auc_score(label, np.log(table["cea"]) + 9 * nodule) == pytest.approx(
        best["both"], abs=0.01
    )
    for ward in column.WARDS:
        assert label[(table["ward"] == ward).to_numpy()].float().mean() == pytest.approx(
            0.5, abs=0.12
        )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"case": "two"}, "dataset.case=two: choose single, energies, views, slices, column"),
        ({"case": "views", "shortcut": 0.9}, "dataset.shortcut=0.9: dataset.case=views doesn't"),
        ({"case": "views", "nodule_radius": [1, 2]}, r"dataset.nodule_radius=.1, 2.: dataset.case"),
        ({"case": "column", "class_shares": {"normal": 1}}, "dataset.class_shares={'normal': 1}"),
        ({"case": "slices", "size": 256}, "dataset.size=256: give a whole number, 16 … 128"),
        ({"case": "column", "patients": 11}, "11: 3 of class with a nodule alone are too few"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(option: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        phantom(**option)
    assert "\n" not in str(error.value)


def test_options_that_a_config_repeats_are_left_alone() -> None:
    samples = make(
        "column",
        nodule_radius=[1.7, 2.5],
        class_shares={"normal": 1, "nodule": 1, "effusion": 1},
    )
    assert len(samples) == FEW
