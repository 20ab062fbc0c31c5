from medcnn.evaluation import score


def test_an_epoch_is_chosen_by_what_is_defined() -> None:
    figures = {
        "auroc": {"value": None}, "auroc/a": {"value": 0.75}, "auroc/b": {"value": None},
        "auroc/c": {"value": 0.25}, "accuracy": {"value": 1.0},
    }  # fmt: skip
    assert score(figures, "auroc", loss=0.3) == 0.5
    assert score({**figures, "auroc": {"value": 0.9}}, "auroc", loss=0.3) == 0.9
    assert score({"auroc": {"value": None}}, "auroc", loss=0.3) == -0.3


def test_classes_of_few_images_choose_no_epoch() -> None:
    figures = {
        "auroc": {"value": 0.9}, "auroc/a": {"value": 0.7}, "auroc/b": {"value": 0.8},
        "auroc/c": {"value": 1.0},
    }  # fmt: skip
    assert score(figures, "auroc", loss=0.3, few={"c"}) == 0.75
    assert score(figures, "auroc", loss=0.3, few={"a", "b", "c"}) == -0.3
