"""Several classifiers that answer as one."""

import json
from pathlib import Path
from typing import Any

import jobs
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import medcnn
from medcnn.classifier.build import make_classifier
from medcnn.classifier.checkpoint import _name_stem
from medcnn.classifier.classifier import Classifier
from medcnn.classifier.ensemble import Ensemble, load, read_ensemble, write_ensemble
from medcnn.errors import UserError

TRUST = [jobs.SMALL_NET]
IMAGES = torch.rand(5, 1, 12, 12, generator=torch.Generator().manual_seed(0))


def card(**changes: Any) -> dict[str, Any]:
    """A checkpoint's card, of a small net for two classes."""
    model = {"_target_": jobs.SMALL_NET}
    plain = {
        "config": {"seed": 0, "model": model, "trainer": {"channels_last": False}},
        "task": "binary",
        "class_names": ["benign", "malignant"],
        "positive": 1,
        "class_weights": None,
        "targets": None,
        "in_channels": 1,
        "input_size": [12, 12],
        "intensity_range": [0.0, 255.0],
        "normalise": "zscore",
        "mean": [0.5],
        "std": [0.25],
        "whitening": None,
        "image_spec": None,
    }
    return {**plain, **changes}


def member(seed: int, **changes: Any) -> Classifier:
    torch.manual_seed(seed)
    return make_classifier(card(**changes), TRUST).eval()


def save(folder: Path, *members: Classifier) -> list[Path]:
    """Checkpoints as a cross-validation leaves them, and its ensemble.json."""
    paths = [folder / f"fold-{k}" / "checkpoints" / "best.ckpt" for k in range(len(members))]
    for path, one in zip(paths, members, strict=True):
        path.parent.mkdir(parents=True)
        content = {"medcnn": {"version": "0", **one.card}, "state_dict": one.state_dict()}
        torch.save(content, path)
    write_ensemble(folder, paths)
    return paths


class Fixed(nn.Module):
    """Answers the same to every image."""

    def __init__(self, *answer: float, **changes: Any) -> None:
        super().__init__()
        self.card, self.objective = card(**changes), None
        self.answer = nn.Parameter(torch.tensor(answer))

    def classify(self, images: Tensor, columns: None = None) -> Tensor:
        """(N, K)."""
        return self.answer.expand(len(images), -1)


@pytest.mark.parametrize("stored", ["auto", "medium"])
def test_a_checkpoint_keeps_the_stem_that_it_was_trained_with(stored: str, tmp_path: Path) -> None:
    """One from before there was a medium stem holds auto, and had the imagenet one at 80 px."""
    model = {"_target_": "medcnn.nets.build", "name": "resnet", "width": 1 / 32, "stem": stored}
    config = {**card()["config"], "model": model}
    trained = make_classifier(card(config=config, input_size=[80, 80]))
    assert trained.card["config"]["model"]["stem"] == "medium"
    expected = "medium"
    if stored == "auto":
        model["stem"] = expected = "imagenet"
        trained = make_classifier(card(config=config, input_size=[80, 80]))
        model["stem"] = "auto"
    (path,) = save(tmp_path, trained)
    loaded = load(path)
    assert loaded.card["config"]["model"]["stem"] == loaded.net.stem == expected
    images = torch.rand(2, 1, 80, 80)
    assert torch.equal(loaded.classify(images), trained.classify(images))


@pytest.mark.parametrize(
    ("model", "size", "stem"),
    [
        ({"name": "resnet18"}, [16, 96, 96], "small"),
        ({"name": "alexnet"}, [96, 60], "small"),
        ({"name": "vgg11"}, [96, 60], "imagenet"),
        ({"name": "resnet18", "pretrained": True}, [64, 64], "imagenet"),
        ({"_target_": "their.net"}, [96, 96], "auto"),
    ],
)
def test_which_stem_auto_was(model: dict[str, Any], size: list[int], stem: str) -> None:
    """Before checkpoints named it; a net of the user's may mean something else by the word."""
    given = card(input_size=size)
    given["config"] = {"model": {"_target_": "medcnn.nets.build", "stem": "auto", **model}}
    _name_stem(given)
    assert given["config"]["model"]["stem"] == stem


# Answers


def test_the_answer_is_the_mean_of_the_members() -> None:
    ensemble = Ensemble([Fixed(0.2, 0.8), Fixed(0.6, 0.4), Fixed(0.1, 0.9)])  # type: ignore[list-item]
    expected = torch.tensor([[0.3, 0.7]]).expand(5, 2)
    torch.testing.assert_close(ensemble.classify(IMAGES), expected)


def test_a_file_has_the_range_of_its_own(tmp_path: Path) -> None:
    Image.new("L", (12, 12), 51).save(tmp_path / "grey.png")
    spec = {"size": [12, 12], "intensity": "type"}
    ensemble = Ensemble([member(k, intensity_range=None, image_spec=spec) for k in range(2)])
    read = ensemble.read(tmp_path / "grey.png")
    torch.testing.assert_close(read, torch.full((1, 1, 12, 12), 0.2))


def test_probabilities_are_averaged_not_logits() -> None:
    members = [member(seed) for seed in range(3)]
    probs = torch.stack([one.classify(IMAGES) for one in members])
    answer = Ensemble(members).classify(IMAGES)
    torch.testing.assert_close(answer, probs.mean(0))
    torch.testing.assert_close(answer.sum(1), torch.ones(5).double())
    logits = torch.stack([one(IMAGES) for one in members]).mean(0)
    assert not torch.allclose(answer, members[0].objective.probs(logits.double()), atol=1e-6)


def test_predictions_of_numbers_are_averaged_in_their_own_units() -> None:
    changes = {"task": "regression", "class_names": ["age"], "positive": None}
    members = [
        member(k, **changes, targets={"mean": [50.0 + 10 * k], "std": [5.0]}) for k in range(2)
    ]
    answer = Ensemble(members).classify(IMAGES)
    assert answer.shape == (5, 1)
    single = [one.classify(IMAGES) for one in members]
    torch.testing.assert_close(answer, (single[0] + single[1]) / 2)
    assert 30 < answer.mean() < 80


def test_dropout_is_off_and_the_mode_stays() -> None:
    ensemble = Ensemble([member(0), member(1)]).train()
    first = ensemble.classify(IMAGES)
    assert torch.equal(first, ensemble.classify(IMAGES))
    assert ensemble.training
    assert ensemble.members[1].training
    assert not first.requires_grad


def test_it_stands_for_its_first_member() -> None:
    members = [member(0, mean=[0.1]), member(1, mean=[0.9])]
    ensemble = Ensemble(members)
    assert ensemble.card is members[0].card
    assert ensemble.objective is members[0].objective
    assert ensemble.device == torch.device("cpu")
    assert ensemble.to("meta").device == torch.device("meta")
    assert len(ensemble.members) == 2


# Members that don't go together


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("task", "ordinal"),
        ("class_names", ["malignant", "benign"]),
        ("in_channels", 3),
        ("input_size", [12, 14]),
        ("positive", 0),
    ],
)
def test_members_that_differ_are_refused(key: str, value: Any) -> None:
    members = [Fixed(0.5), Fixed(0.5), Fixed(0.5, **{key: value})]
    with pytest.raises(UserError, match=f"the members of an ensemble differ in {key}"):
        Ensemble(members)  # type: ignore[arg-type]


def test_members_that_prepare_files_otherwise_are_refused() -> None:
    spec = {"size": [12, 12], "intensity": "window", "allow_missing_geometry": False}
    first = Fixed(0.5, image_spec=spec)
    for same in ({"allow_missing_geometry": True}, {"crop": "none", "crop_margin": None}):
        assert len(Ensemble([first, Fixed(0.5, image_spec={**spec, **same})]).members)  # type: ignore[list-item]
    with pytest.raises(UserError, match="prepare files: intensity is window and auto"):
        Ensemble([first, Fixed(0.5, image_spec={**spec, "intensity": "auto"})])  # type: ignore[list-item]


def test_members_may_have_learnt_from_other_images() -> None:
    others = {"mean": [0.7], "std": [0.1], "class_weights": [1.0, 2.0]}
    assert len(Ensemble([member(0), member(1, **others)]).members) == 2


def test_nobody_is_no_ensemble() -> None:
    with pytest.raises(UserError, match="an ensemble needs a member"):
        Ensemble([])


# Files


def test_a_run_directory_is_loaded_with_all_its_members(tmp_path: Path) -> None:
    members = [member(seed) for seed in range(2)]
    paths = save(tmp_path / "run", *members)
    expected = Ensemble(members).classify(IMAGES)
    for given in (tmp_path / "run", tmp_path / "run" / "ensemble.json", str(tmp_path / "run")):
        ensemble = load(given, trust=TRUST)
        assert isinstance(ensemble, Ensemble)
        assert not ensemble.training
        torch.testing.assert_close(ensemble.classify(IMAGES), expected)
    one = medcnn.load(paths[1], trust=TRUST)
    assert isinstance(one, Classifier)
    torch.testing.assert_close(one.classify(IMAGES), members[1].classify(IMAGES))


def test_a_run_directory_may_be_moved(tmp_path: Path) -> None:
    paths = save(tmp_path / "run", member(0), member(1))
    assert json.loads((tmp_path / "run" / "ensemble.json").read_text()) == {
        "members": ["fold-0/checkpoints/best.ckpt", "fold-1/checkpoints/best.ckpt"],
        "choices": {},
    }
    assert read_ensemble(tmp_path / "run") == paths
    (tmp_path / "run").rename(tmp_path / "moved")
    assert read_ensemble(tmp_path / "moved" / "ensemble.json") == [
        tmp_path / "moved" / path.relative_to(tmp_path / "run") for path in paths
    ]
    assert isinstance(load(tmp_path / "moved", trust=TRUST), Ensemble)


def test_trust_is_asked_for_each_member(tmp_path: Path) -> None:
    save(tmp_path, member(0))
    with pytest.raises(UserError, match=r"add trust=\[jobs\.SmallNet\]"):
        load(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", "3", '{"members": null}', '{"members": 5}', "\x00\x01"]
)
def test_a_file_that_describes_no_ensemble(tmp_path: Path, text: str) -> None:
    (tmp_path / "ensemble.json").write_text(text)
    for given in (tmp_path, tmp_path / "ensemble.json"):
        with pytest.raises(UserError, match=r"ensemble\.json can't be read as an ensemble"):
            load(given)


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "ensemble.json").write_bytes(b'{"members": ["\xff"]}')
    with pytest.raises(UserError, match="can't be read as an ensemble"):
        load(tmp_path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't be read as an ensemble"):
        load(tmp_path / "ensemble.json")
    with pytest.raises(UserError, match="is a folder"):
        load(tmp_path)
    paths = save(tmp_path / "run", member(0), member(1))
    paths[1].unlink()
    with pytest.raises(UserError, match=r"fold-1/checkpoints/best\.ckpt: there is no such file"):
        load(tmp_path / "run", trust=TRUST)
    (tmp_path / "run" / "ensemble.json").write_text('{"members": []}')
    with pytest.raises(UserError, match="an ensemble needs a member"):
        load(tmp_path / "run", trust=TRUST)
