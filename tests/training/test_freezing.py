"""What learns, how fast, and what is computed once."""

from pathlib import Path
from typing import Any

import jobs
import pytest
import torch
from torch import Tensor, nn

from medcnn import nets
from medcnn.errors import UserError
from medcnn.nets.heads import LinearHead, LogSumExpHead
from medcnn.training.freezing import FeatureCache, Freezing, mean, only_mean, parameter_groups


def resnet(**options: Any) -> nets.Net:
    torch.manual_seed(0)
    size = {"in_channels": 1, "num_classes": 2, "input_size": (16, 16)}
    return nets.build("resnet18", width=0.125, **size, **options)


def learning(net: nn.Module) -> set[str]:
    """Which parts have parameters that take part in the backward pass."""
    return {
        name.split(".")[1] if name.startswith("features") else name.split(".")[0]
        for name, p in net.named_parameters()
        if p.requires_grad
    }


STAGES = {"stem", "layer1", "layer2", "layer3", "layer4"}


def test_modes() -> None:
    net = resnet()
    Freezing("scratch").freeze(net, 0)
    assert learning(net) == STAGES | {"head"}
    for mode in ("head", "partial"):
        Freezing(mode).freeze(net, 5)
        assert learning(net) == {"head"}
    Freezing("finetune").freeze(net, 0)
    assert learning(net) == STAGES | {"head"}


def test_gradual_unfreezing() -> None:
    net, freezing = resnet(), Freezing("finetune", unfreeze=2)
    expected: dict[int, set[str]] = {
        0: set(),
        1: set(),
        2: {"layer4"},
        5: {"layer3", "layer4"},
        10: STAGES,
        50: STAGES,
    }
    for epoch, stages in expected.items():
        freezing.freeze(net, epoch)
        assert learning(net) == stages | {"head"}, epoch


def test_scratch_leaves_what_the_user_froze() -> None:
    net = resnet()
    net.features.layer1.requires_grad_(False)
    Freezing().freeze(net, 0)
    assert learning(net) == STAGES - {"layer1"} | {"head"}
    groups = parameter_groups(net, Freezing(), 0.1)
    assert sum(len(group["params"]) for group in groups) == sum(
        p.requires_grad for p in net.parameters()
    )


def test_learning_rates_fall_in_equal_ratios_to_the_first_stage() -> None:
    net = resnet()
    groups = parameter_groups(net, Freezing("finetune", first_lr=0.1), 0.02)
    rate_of = {id(p): group.get("lr", 0.02) for group in groups for p in group["params"]}
    assert len(rate_of) == len(list(net.parameters()))
    for i, name in enumerate(("stem", "layer1", "layer2", "layer3", "layer4")):
        rates = {rate_of[id(p)] for p in net.get_submodule(f"features.{name}").parameters()}
        assert list(rates) == [pytest.approx(0.02 * 0.1 ** ((5 - i) / 5))]
    assert {rate_of[id(p)] for p in net.head.parameters()} == {0.02}
    decayed = {id(p) for g in groups if "weight_decay" not in g for p in g["params"]}
    assert decayed == {id(p) for p in net.parameters() if p.ndim > 1}


def test_frozen_parts_are_not_given_to_the_optimiser_unless_they_are_unfrozen() -> None:
    net = resnet()
    for freezing, count in ((Freezing("head"), 2), (Freezing("finetune", unfreeze=1), 62)):
        freezing.freeze(net, 0)
        groups = parameter_groups(net, freezing, 0.1)
        assert sum(len(group["params"]) for group in groups) == count


def test_a_head_alone_has_a_rate_of_its_own() -> None:
    for mode in ("head", "partial"):
        groups = parameter_groups(resnet(), Freezing(mode, head_lr=30), 0.001)
        assert [group["lr"] for group in groups] == [pytest.approx(0.03)] * 2
    assert "lr" not in parameter_groups(resnet(), Freezing("finetune", head_lr=30), 0.001)[-1]


def test_rates_need_a_number() -> None:
    with pytest.raises(UserError, match=r"optimizer\.lr=fast: give a number"):
        parameter_groups(resnet(), Freezing("finetune", first_lr=0.5), "fast")


def test_parameters_outside_features_and_head_learn_like_the_head() -> None:
    net = resnet()
    net.extra = nn.Parameter(torch.zeros(3, 3))
    for mode in ("head", "finetune", "scratch"):
        groups = parameter_groups(net, Freezing(mode, first_lr=0.1), 0.1)
        (rate,) = [g.get("lr") for g in groups if any(p is net.extra for p in g["params"])]
        assert rate is None


class Counted:
    """Feature maps of images, and how many were computed."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.images += len(images)
        return torch.cat([images, images.square()], 1)


@pytest.mark.parametrize("head", [LinearHead(2, 3), LogSumExpHead(2, 3)])
def test_features_are_computed_once(head: LinearHead) -> None:
    images, features = torch.randn(10, 1, 4, 4), Counted()
    cache = FeatureCache(10, 10**6, images.__getitem__, block=2)
    for rows in ([3, 1], [1, 7, 3], [7, 1], [0, 3]):
        at = torch.tensor(rows)
        maps = cache(at, features, head)
        expected = head(Counted()(images[at]))
        torch.testing.assert_close(head(maps), expected)
    assert features.images == 6  # of three blocks
    assert cache.mean_is_enough == (type(head) is LinearHead)
    assert maps.shape == ((2, 2, 1, 1) if cache.mean_is_enough else (2, 2, 4, 4))


def test_nothing_is_kept_where_there_is_no_room() -> None:
    images, features, head = torch.randn(10, 1, 4, 4), Counted(), LogSumExpHead(2, 3)
    cache = FeatureCache(10, 10 * 2 * 16 * 4 - 1, images.__getitem__, block=3)
    rows = torch.arange(3)
    for _ in range(2):
        torch.testing.assert_close(cache(rows, features, head), Counted()(images[rows]))
    assert features.images == 3 + 6  # a block to find out
    room = FeatureCache(10, 10 * 2 * 16 * 4, images.__getitem__, block=3)
    assert room(rows, features, head).shape[0] == 3


def test_only_mean() -> None:
    maps = torch.randn(2, 3, 4, 4)
    head = LinearHead(3, 2, dropout=0.5).train()
    assert only_mean(head, maps)
    assert head.training
    assert not only_mean(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), maps)
    assert not only_mean(nn.Linear(3, 2), torch.randn(2, 3))
    torch.testing.assert_close(mean(maps)[:, :, 0, 0], maps.mean((2, 3)))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint to transfer from."""
    run = jobs.train(
        tmp_path_factory.mktemp("source") / "run", *jobs.QUICK, "model=resnet", "model.width=0.125"
    )
    return run / "checkpoints" / "best.ckpt"


def transfer(folder: Path, source: Path, mode: str, *overrides: str) -> Path:
    given = ("model=resnet", "model.width=0.125", f"model.weights='{source}'", "dataset.seed=3")
    return jobs.train(folder, *jobs.QUICK, *given, f"transfer={mode}", *overrides)


def trunk(run_or_checkpoint: Path) -> dict[str, Tensor]:
    path = run_or_checkpoint
    if path.is_dir():
        path = path / "checkpoints" / "last.ckpt"
    state = torch.load(path, weights_only=True)["state_dict"]
    return {key: value for key, value in state.items() if key.startswith("net.features")}


def test_a_frozen_trunk_stays_as_it_is_batch_norms_too(source: Path, tmp_path: Path) -> None:
    run = transfer(tmp_path / "head", source, "head", "trainer.max_epochs=3")
    assert jobs.same_weights(trunk(run), trunk(source))
    before = torch.load(source, weights_only=True)["state_dict"]["net.head.fc.weight"]
    assert not torch.equal(jobs.checkpoint(run, "last")["state_dict"]["net.head.fc.weight"], before)
    tuned = transfer(tmp_path / "tuned", source, "finetune")
    moved = trunk(tuned)
    assert not any(torch.equal(v, moved[k]) for k, v in trunk(source).items() if "conv" in k)


def test_kept_features_give_the_same_training(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = transfer(tmp_path / "kept", source, "head", "augment=none")
    monkeypatch.setattr("medcnn.training.from_config.available_memory", lambda: 0)
    anew = transfer(tmp_path / "anew", source, "head", "augment=none")
    first, second = (jobs.checkpoint(run, "last")["state_dict"] for run in (kept, anew))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


def test_an_interrupted_transfer_goes_on_as_if_it_had_not_been(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from medcnn.train import train
    from medcnn.training.callbacks import LastCheckpoint

    more = ("trainer.max_epochs=3", "augment=none", "transfer.unfreeze=1")
    whole = transfer(tmp_path / "whole", source, "finetune", *more)
    saved = LastCheckpoint.on_train_epoch_end

    def stop(self: Any, trainer: Any, module: Any) -> None:
        saved(self, trainer, module)
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LastCheckpoint, "on_train_epoch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            transfer(tmp_path / "cut", source, "finetune", *more)
    capsys.readouterr()
    train(jobs.compose("train", f"resume='{tmp_path / 'cut'}'"), [])
    assert "weights:" not in capsys.readouterr().out, "those of last.ckpt are taken, not the file's"
    assert jobs.same_weights(
        jobs.checkpoint(tmp_path / "cut", "last")["state_dict"],
        jobs.checkpoint(whole, "last")["state_dict"],
    )


def test_a_checkpoint_needs_the_weights_file_no_more(source: Path, tmp_path: Path) -> None:
    import shutil

    from medcnn import load

    copy = tmp_path / "weights = 1.ckpt"
    shutil.copy(source, copy)
    run = transfer(tmp_path / "run", copy, "partial")
    copy.unlink()
    classifier = load(run / "checkpoints" / "best.ckpt")
    assert list(dict(classifier.net.features.named_children())) == ["stem", "layer1", "layer2"]
    assert classifier.card["config"]["model"]["cut"] == "layer2"
