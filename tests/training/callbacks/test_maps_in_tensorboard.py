"""Maps in TensorBoard: a whole training with them, and what the callback does to a net."""

import io
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from medcnn import cam
from medcnn.classifier.classifier import Classifier
from medcnn.data.samples import Samples
from medcnn.data.studies import studies_of
from medcnn.errors import UserError
from medcnn.evidence import gallery as cam_gallery
from medcnn.nets import build
from medcnn.objective import Objective
from medcnn.report.maps.item import GalleryItem
from medcnn.training.callbacks import MapsInTensorBoard

NAME = "medcnn.training.callbacks.MapsInTensorBoard"


def images_of(folder: Path) -> dict[int, np.ndarray]:
    """The pictures in an event file, by step."""
    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    if "maps" not in events.Tags()["images"]:
        return {}
    return {
        event.step: np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
        for event in events.Images("maps")
    }


@pytest.mark.no_cover
def test_a_training_with_maps_is_the_same_training(tmp_path: Path) -> None:
    options = (*jobs.QUICK, "logger=tensorboard", "trainer.max_epochs=4")
    maps = ("callbacks=maps", "callbacks.maps.n=4", "callbacks.maps.every=2")
    run = jobs.train(tmp_path / "with", *options, *maps, trust=(NAME,))
    steps = 48 // 16  # training images, of a batch
    found = images_of(run / "tensorboard")
    assert sorted(found) == [0, 2 * steps, 4 * steps]
    assert found[0].shape[1:] == (1600, 3)
    assert not np.array_equal(found[0], found[4 * steps])
    plain = jobs.train(tmp_path / "without", *options)
    assert images_of(plain / "tensorboard") == {}
    first, second = (jobs.checkpoint(folder, "last")["state_dict"] for folder in (run, plain))
    assert jobs.same_weights(first, second)


def test_without_tensorboard_it_says_so_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.train(tmp_path / "run", *jobs.QUICK, "callbacks=maps", trust=(NAME,))
    assert capsys.readouterr().out.count("no TensorBoard") == 1


class Setting:
    """A net with data, and what the callback sees of a trainer; the net trains."""

    def __init__(self, folder: Path, samples: Samples, *, name: str = "resnet", **options: Any):
        spatial = len(samples.input_size)
        self.objective = Objective(
            samples.task, len(samples.class_names), positive=samples.positive
        )
        net = build(
            name,
            in_channels=samples.in_channels,
            num_classes=self.objective.num_outputs,
            spatial_dims=spatial,
            stem="small",
            **options,
        )
        card: dict[str, Any] = {
            "class_names": samples.class_names,
            "positive": samples.positive,
            "in_channels": samples.in_channels,
            "input_size": samples.input_size,
            "normalise": "zscore",
            "mean": [0.5],
            "std": [0.25],
            "whitening": None,
            "config": {"trainer": {"precision": "bf16-mixed"}, "augment": {}},
        }
        self.classifier = Classifier(net, self.objective, card)
        self.module: Any = SimpleNamespace(classifier=self.classifier)
        self.logger = TensorBoardLogger(folder, name="tb", version="")
        self.trainer: Any = SimpleNamespace(
            is_global_zero=True,
            loggers=[self.logger],
            current_epoch=0,
            global_step=7,
            datamodule=SimpleNamespace(samples=samples),
        )
        self.folder = folder / "tb"

    def draw(self, **options: Any) -> dict[int, np.ndarray]:
        MapsInTensorBoard(**options).on_train_epoch_end(self.trainer, self.module)
        self.logger.experiment.flush()
        return images_of(self.folder)


@pytest.fixture
def items(monkeypatch: pytest.MonkeyPatch) -> list[GalleryItem]:
    """What is drawn."""
    seen: list[GalleryItem] = []
    draw = cam_gallery.gallery_figure

    def keep(items: Iterable[GalleryItem], **options: Any) -> Any:
        seen.extend(items)
        return draw(seen, **options)

    monkeypatch.setattr(cam_gallery, "gallery_figure", keep)
    return seen


def labelled(labels: list[Any], task: str, names: tuple[str, ...], **options: Any) -> Samples:
    """Noise of 16 px in the validation split, after one training image."""
    shape = options.pop("shape", (16, 16))
    columns = {"label": labels}
    if np.ndim(labels) == 2:
        columns = {f"label:{name}": [row[k] for row in labels] for k, name in enumerate(names)}
    n = len(labels)
    table = pd.DataFrame({"image": range(n), "patient": range(n), "split": "val", **columns})
    images = torch.randint(0, 255, (n, 1, *shape), generator=torch.Generator().manual_seed(0))
    return Samples("x", table, images.to(torch.uint8), task, names, **options)  # type: ignore[arg-type]


def test_modes_and_gradients_stay(tmp_path: Path) -> None:
    """In bf16, of a net with batch norm, in training mode but for one frozen part."""
    setting = Setting(tmp_path, labelled([0, 1, 2] * 3, "multiclass", ("a", "b", "c")))
    classifier = setting.classifier
    classifier.net.features[0].eval()  # type: ignore[index]
    modes = {name: part.training for name, part in classifier.named_modules()}
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    random = torch.get_rng_state()
    found = setting.draw()
    assert list(found) == [7]
    assert {name: part.training for name, part in classifier.named_modules()} == modes
    assert any(modes.values())
    assert not all(modes.values())
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert jobs.same_weights(state, classifier.state_dict())
    assert torch.equal(random, torch.get_rng_state())


def test_what_is_asked_of_studies_leaves_the_statistics(tmp_path: Path) -> None:
    samples = labelled([0, 0, 1, 1, 0, 0], "binary", ("a", "b"), positive=1)
    samples.table["study"] = samples.table["patient"] = [*"ssttuu"]
    samples.join_studies(studies_of(samples.table))
    setting = Setting(tmp_path, samples, aggregate="attention")
    state = {name: value.clone() for name, value in setting.classifier.state_dict().items()}
    assert list(setting.draw()) == [7]
    assert jobs.same_weights(state, setting.classifier.state_dict())


def test_volumes_masks_and_bits(tmp_path: Path, items: list[GalleryItem]) -> None:
    masks = torch.zeros(4, 8, 16, 16, dtype=torch.bool)
    masks[:, 2] = True
    samples = labelled(
        [0, 1, 0, 1], "binary", ("a", "b"), shape=(8, 16, 16), positive=1, masks=masks
    )
    assert Setting(tmp_path, samples, width=0.125).draw(n=2)
    assert [item.map.shape for item in items] == [(8, 16, 16)] * 2
    assert items[0].mask is not None
    assert items[0].mask.sum() == 256


def test_the_same_images_evenly_from_the_classes(tmp_path: Path, items: list[GalleryItem]) -> None:
    samples = labelled([-1, 0, 0, 0, 0, 0, 1, 2, 2], "multiclass", ("a", "b", "c"))
    setting = Setting(tmp_path, samples)
    setting.draw(n=6)
    assert [item.true for item in items] == ["a", "a", "b", "c", "c"]
    shown = [np.round(255 * item.image).astype(int) for item in items]
    rows = [1, 5, 6, 7, 8]
    for image, row in zip(shown, rows, strict=True):
        np.testing.assert_array_equal(image, samples.images[torch.tensor([row])][0, 0])
    assert all(item.predicted in "abc" and item.probability is not None for item in items)
    assert [item.correct for item in items] == [item.true == item.predicted for item in items]


def test_the_true_class_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    explain = cam.explain

    def keep(net: Any, images: Tensor, targets: Tensor, **options: Any) -> Tensor:
        seen.append(targets)
        return explain(net, images, targets, **options)

    monkeypatch.setattr(cam, "explain", keep)
    Setting(tmp_path, labelled([2, 0, 1], "multiclass", ("a", "b", "c"))).draw(method="cam")
    assert seen[0].tolist() == [0, 1, 2]


def test_several_labels(tmp_path: Path, items: list[GalleryItem]) -> None:
    labels = [[0, 1], [0, 0], [-1, -1], [1, -1]]
    Setting(tmp_path, labelled(labels, "multilabel", ("fluid", "mass"))).draw()
    assert [item.true for item in items] == ["none", "fluid", "mass"]
    for item, mapped in zip(items, ("fluid", "fluid", "mass"), strict=True):
        assert item.predicted.startswith(mapped) or f"(map: {mapped} " in item.predicted


def test_numbers_and_ranks(tmp_path: Path, items: list[GalleryItem]) -> None:
    heights = labelled([1.5, float("nan"), 2.25], "regression", ("height",))
    Setting(tmp_path / "numbers", heights).draw()
    assert [item.true for item in items] == ["1.5", "2.25"]
    assert [item.probability for item in items] == [None, None]
    items.clear()
    Setting(tmp_path / "ranks", labelled([0, 1, 2], "ordinal", ("0", "I", "II"))).draw()
    assert [item.true for item in items] == ["0", "I", "II"]


def test_nothing_where_nothing_is_known_or_on_other_processes(tmp_path: Path) -> None:
    assert (
        Setting(tmp_path / "a", labelled([-1, -1], "binary", ("a", "b"), positive=1)).draw() == {}
    )
    setting = Setting(tmp_path / "b", labelled([0, 1], "binary", ("a", "b"), positive=1))
    setting.trainer.is_global_zero = False
    assert setting.draw() == {}
    setting.trainer.is_global_zero = True
    assert setting.draw(every=2) == {}
    setting.trainer.current_epoch = 1
    assert list(setting.draw(every=2)) == [7]


def test_a_resumed_run_does_not_begin_again(tmp_path: Path) -> None:
    setting = Setting(tmp_path, labelled([0, 1], "binary", ("a", "b"), positive=1))
    setting.trainer.current_epoch = 3
    MapsInTensorBoard().on_train_start(setting.trainer, setting.module)
    setting.logger.experiment.flush()
    assert images_of(setting.folder) == {}


def test_bad_input(tmp_path: Path) -> None:
    for options, why in (
        ({"n": 0}, "callbacks.maps.n=0"),
        ({"every": 0}, "callbacks.maps.every=0"),
        ({"method": "x"}, "callbacks.maps.method=x: choose one of cam, gradcam"),
    ):
        with pytest.raises(UserError, match=why):
            MapsInTensorBoard(**options)  # type: ignore[arg-type]
    setting = Setting(tmp_path, labelled([0, 1], "binary", ("a", "b"), positive=1))
    with pytest.raises(UserError, match="stage=x"):  # before the first epoch
        MapsInTensorBoard(stage="x").on_train_start(setting.trainer, setting.module)
