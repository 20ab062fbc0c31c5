"""The classifier, and the way back from a checkpoint."""

import os
import pickle
from pathlib import Path
from typing import Any

import jobs
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import medcnn
from medcnn._version import __version__
from medcnn.classifier.checkpoint import read_checkpoint
from medcnn.classifier.classifier import Classifier
from medcnn.errors import UserError
from medcnn.nets import build
from medcnn.objective import Objective

CARD: dict[str, Any] = {
    "config": {"seed": 0, "trainer": {"precision": "32-true"}},
    "class_names": ["a", "b", "c"],
    "positive": None,
    "in_channels": 2,
    "input_size": [28, 28],
    "normalise": "zscore",
    "mean": [0.5, 0.2],
    "std": [0.25, 0.1],
    "whitening": None,
    "image_spec": None,
}


def classifier(channels_last: bool = False) -> Classifier:
    torch.manual_seed(0)
    net = jobs.SmallNet(in_channels=2, num_classes=3)
    return Classifier(net, Objective("multiclass", 3), CARD, channels_last=channels_last)


IMAGES = torch.rand(5, 2, 28, 28, generator=torch.Generator().manual_seed(1))


def test_images_are_normalised_per_channel() -> None:
    normalised = classifier().normalise(IMAGES)
    torch.testing.assert_close(normalised[:, 0], (IMAGES[:, 0] - 0.5) / 0.25)
    torch.testing.assert_close(normalised[:, 1], (IMAGES[:, 1] - 0.2) / 0.1)
    assert normalised.is_contiguous()


def test_memory_format_changes_no_number() -> None:
    last, first = classifier(channels_last=True).eval(), classifier().eval()
    assert last.normalise(IMAGES).is_contiguous(memory_format=torch.channels_last)
    weights = last.net.features[0].weight
    assert weights.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last(IMAGES), first(IMAGES), atol=1e-5, rtol=0)


def test_volumes_have_a_memory_format_too() -> None:
    net = build("lenet", in_channels=1, num_classes=2, spatial_dims=3)
    card = {**CARD, "in_channels": 1, "input_size": [14, 14, 14], "mean": [0.0], "std": [1.0]}
    module = Classifier(net, Objective("multiclass", 2), card, channels_last=True)
    images = module.normalise(torch.rand(2, 1, 14, 14, 14))
    assert images.is_contiguous(memory_format=torch.channels_last_3d)
    assert module.eval()(images).shape == (2, 2)


def test_is_head_of_features() -> None:
    module = classifier().eval()
    expected = module.net(module.normalise(IMAGES))
    torch.testing.assert_close(module(IMAGES), expected)
    torch.testing.assert_close(module.head(module.features(IMAGES)), expected)


def test_classify_leaves_the_mode_alone_and_needs_no_graph() -> None:
    module = classifier().train()
    probs = module.classify(IMAGES.double())
    assert module.training
    assert module.net.training
    assert not probs.requires_grad
    torch.testing.assert_close(probs, module.eval()(IMAGES).double().softmax(1))
    torch.testing.assert_close(module.classify(IMAGES), probs)
    torch.testing.assert_close(probs.sum(1), torch.ones(5).double())


def test_classify_takes_arrays_and_refuses_what_cannot_be_0_to_1() -> None:
    module = classifier().eval()
    torch.testing.assert_close(module.classify(IMAGES.numpy()), module.classify(IMAGES))
    for images, words in (
        (IMAGES * 255, r"images hold 0\S* … 25\S+: give them in 0 … 1; classifier.read\(path\)"),
        ((255 * IMAGES).byte(), "images are torch.uint8: give floating point in 0 … 1"),
        (IMAGES * 3 - 1.5, r"images hold -1\.\S+ … 1\.\S+"),
        (torch.full_like(IMAGES, torch.nan), "images hold nan"),
        (IMAGES[:, 0], r"the shape \(5, 28, 28\): give \(N, 2, height, width\)"),
    ):
        with pytest.raises(UserError, match=words):
            module.classify(images)
    assert module.class_names == ["a", "b", "c"]
    assert module.threshold is None  # as of more than two classes
    assert module.decide(torch.tensor([[0.2, 0.5, 0.3]])).tolist() == [1]


def test_a_file_is_read_as_in_training(phantom_run: Path, tmp_path: Path) -> None:
    module = medcnn.load(phantom_run / "checkpoints" / "best.ckpt")
    samples = medcnn.data.open_data.make_source(module.card["config"]["dataset"])
    image = samples.images[torch.arange(1)]
    Image.fromarray(image[0, 0].numpy()).save(tmp_path / "film.png")
    read = module.read(tmp_path / "film.png")
    torch.testing.assert_close(read, image / 255)
    assert module.classify(read).shape == (1, 3)
    with pytest.raises(UserError, match=f"{tmp_path / 'none.png'} "):
        module.read(tmp_path / "none.png")


def test_outside_training_the_head_works_in_full_precision() -> None:
    module = classifier().eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = module.features(IMAGES)
        logits = module.head(maps)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, module.net.head(maps.float()))


def test_biases_and_norms_do_not_decay(phantom_run: Path) -> None:
    content = jobs.checkpoint(phantom_run, "last")
    decaying, free = content["optimizer_states"][0]["param_groups"]
    sizes = [weights.ndim for weights in content["state_dict"].values()]
    assert decaying["weight_decay"] > 0
    assert free["weight_decay"] == 0
    assert len(decaying["params"]) == sum(ndim > 1 for ndim in sizes)
    assert len(free["params"]) == sum(ndim == 1 for ndim in sizes)


def test_a_loaded_classifier_is_ready(phantom_run: Path) -> None:
    module = medcnn.load(phantom_run / "checkpoints" / "best.ckpt")
    assert not module.training
    assert module.card["class_names"] == ["normal", "nodule", "effusion"]
    assert module.card["input_size"] == [28, 28]
    assert jobs.checkpoint(phantom_run)["medcnn"]["version"] == __version__
    told = pd.read_csv(phantom_run / "predictions.csv").set_index("row")
    samples = medcnn.data.open_data.make_source(module.card["config"]["dataset"])
    rows = torch.tensor(told.index.tolist())
    probs = module.classify(samples.images[rows].float() / 255)
    expected = torch.tensor(told.filter(like="prob:").to_numpy())
    torch.testing.assert_close(probs, expected, atol=1e-6, rtol=0)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        medcnn.lode  # noqa: B018


def test_a_loaded_net_that_the_user_trusts(tmp_path: Path) -> None:
    options = (*jobs.QUICK, "~model.name", f"model._target_={jobs.SMALL_NET}")
    run = jobs.train(tmp_path / "run", *options, "trainer.max_epochs=1", trust=[jobs.SMALL_NET])
    path = run / "checkpoints" / "best.ckpt"
    assert isinstance(medcnn.load(path, trust=[jobs.SMALL_NET]).net, jobs.SmallNet)
    with pytest.raises(UserError, match=r"trust=\[jobs\.SmallNet\]"):
        medcnn.load(path)


class Evil:
    """What a stranger's checkpoint may hold."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("evil",)


def test_a_stranger_s_checkpoint_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"medcnn": Evil()}, tmp_path / "evil.ckpt")
    (tmp_path / "pickle.ckpt").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.ckpt", "pickle.ckpt"):
        with pytest.raises(UserError, match=f"{name} is not a checkpoint, or a damaged one"):
            medcnn.load(tmp_path / name)
    assert not (tmp_path / "evil").exists()


def test_files_that_are_no_checkpoints(phantom_run: Path, tmp_path: Path) -> None:
    good = (phantom_run / "checkpoints" / "best.ckpt").read_bytes()
    (tmp_path / "half.ckpt").write_bytes(good[: len(good) // 2])
    (tmp_path / "text.ckpt").write_text("weights")
    (tmp_path / "empty.ckpt").touch()
    for name in ("half", "text", "empty"):
        with pytest.raises(UserError, match=rf"{name}\.ckpt is not a checkpoint"):
            read_checkpoint(tmp_path / f"{name}.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    torch.save([1], tmp_path / "list.ckpt")
    for name in ("other", "list"):
        with pytest.raises(UserError, match=rf"{name}\.ckpt is not a checkpoint of medcnn"):
            read_checkpoint(tmp_path / f"{name}.ckpt")
    with pytest.raises(UserError, match="there is no such file"):
        read_checkpoint(tmp_path / "nothing.ckpt")
    with pytest.raises(UserError, match=r"is a folder; a run's checkpoint is .*best\.ckpt"):
        read_checkpoint(phantom_run)


def test_an_input_that_no_network_had(phantom_run: Path, tmp_path: Path) -> None:
    content = jobs.checkpoint(phantom_run)
    content["medcnn"]["input_size"] = [100_000, 100_000]
    torch.save(content, tmp_path / "large.ckpt")
    with pytest.raises(UserError, match=r"images of 1 × 100000 × 100000, which can't be"):
        medcnn.load(tmp_path / "large.ckpt")


def test_weights_of_another_net(phantom_run: Path, tmp_path: Path) -> None:
    content = jobs.checkpoint(phantom_run)
    content["medcnn"]["config"]["model"] = {"_target_": "medcnn.nets.build", "name": "mlp"}
    torch.save(content, tmp_path / "mixed.ckpt")
    with pytest.raises(UserError, match=r"mixed\.ckpt: its weights don't fit the net"):
        medcnn.load(tmp_path / "mixed.ckpt")


def test_a_checkpoint_of_another_version(phantom_run: Path, tmp_path: Path) -> None:
    content = jobs.checkpoint(phantom_run)
    del content["medcnn"]["mean"], content["medcnn"]["task"]
    content["medcnn"]["version"] = "0.0.3"
    torch.save(content, tmp_path / "old.ckpt")
    with pytest.raises(UserError, match=r"old\.ckpt lacks task, mean: .* by medcnn 0\.0\.3, this"):
        medcnn.load(tmp_path / "old.ckpt")


def test_a_net_without_maps_says_so() -> None:
    net = build("mlp", in_channels=2, num_classes=3, input_size=(28, 28))
    assert not Classifier(net, Objective("multiclass", 3), CARD).spatial
    assert classifier().spatial
    assert isinstance(classifier().net, nn.Module)
