import sys
from pathlib import Path
from typing import Any

import jobs
import pytest
import torch
import yaml
from pytorch_lightning.callbacks import EarlyStopping

from medcnn.data.augment import Augment
from medcnn.errors import UserError
from medcnn.jobs import instantiate as config
from medcnn.jobs.instantiate import TARGETS, check_yaml, conf_dir, instantiate
from medcnn.jobs.rundir import RunDir

OWN = """
class Own:
    def __init__(self, size, *, flavour="plain"):
        if size < 0:
            raise ValueError("negative")
        self.size, self.flavour = size, flavour
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A user's own module on the path."""
    (tmp_path / "own_module.py").write_text(OWN)
    (tmp_path / "broken_module.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_module", None)


def test_a_class_gets_the_other_keys_and_further_arguments() -> None:
    node = {"_target_": "torch.optim.SGD", "lr": 0.25, "momentum": 0.9}
    made = instantiate(node, "optimizer", params=[torch.zeros(2, requires_grad=True)])
    assert isinstance(made, torch.optim.SGD)
    assert made.defaults["lr"] == 0.25
    assert made.defaults["momentum"] == 0.9


def test_a_dict_does_as_well_and_stays_as_it_is() -> None:
    node = {"_target_": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "x", "patience": 7}
    made = instantiate(node, "callbacks.stop")
    assert isinstance(made, EarlyStopping)
    assert made.patience == 7
    assert node["_target_"].endswith("EarlyStopping")


def test_null_makes_nothing() -> None:
    assert instantiate({"_target_": None}, "scheduler") is None
    assert instantiate({}, "scheduler") is None


def test_every_target_can_be_imported() -> None:
    made = [config._resolve(target, "x", ()) for target in sorted(TARGETS)]
    assert all(callable(target) for target in made)
    assert Augment in made


@pytest.mark.parametrize(
    "target",
    ["os.system", "own_module.Own", "torch.optim.Rprop", "torch.optim.Adam ", 3, ["x"], {}],
)
def test_other_targets_are_refused(own: Any, target: Any) -> None:
    with pytest.raises(UserError, match=r"model\._target_=.* is not one of .*trust="):
        instantiate({"_target_": target}, "model", trust=["own_module.Owner"])
    assert "own_module" not in sys.modules


def test_trusted_targets_are_called(own: Any) -> None:
    node = {"_target_": "own_module.Own", "flavour": "hot"}
    made = instantiate(node, "model", trust=["own_module.Own"], size=3)
    assert (type(made).__name__, made.size, made.flavour) == ("Own", 3, "hot")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("own_module.Missing", "can't be imported"),
        ("no_module.Own", "can't be imported"),
        ("broken_module.Own", "no_such_library"),
        ("own_module", "can't be called"),
        ("", "can't be imported"),
    ],
)
def test_a_trusted_target_that_is_not_there(own: Any, target: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        instantiate({"_target_": target, "size": 3}, "model", trust=[target])


@pytest.mark.parametrize(
    "options",
    [
        {"flavor": "hot"},
        {"size": 3, "flavour": "hot", "_args_": [1]},
        {"size": 3, "_partial_": True},
        {},
    ],
)
def test_options_that_do_not_fit_are_named(own: Any, options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"dataset: own_module\.Own can't be called with these"):
        instantiate({"_target_": "own_module.Own", **options}, "dataset", ["own_module.Own"])


def test_a_key_that_medcnn_gives_itself_is_refused(own: Any) -> None:
    node = {"_target_": "own_module.Own", "size": 3}
    with pytest.raises(UserError, match="multiple values"):
        instantiate(node, "dataset", ["own_module.Own"], size=4)


@pytest.mark.parametrize(
    "options", [{"lr": -1.0}, {"lr": "fast"}, {"lr": 0.1, "nesterov": True}], ids=str
)
def test_values_that_a_library_refuses(options: dict[str, Any]) -> None:
    params = [torch.zeros(2, requires_grad=True)]
    with pytest.raises(UserError, match=r"optimizer: torch\.optim\.SGD refuses these options: "):
        instantiate({"_target_": "torch.optim.SGD", **options}, "optimizer", params=params)


def test_errors_of_own_code_stay_what_they_are(own: Any) -> None:
    with pytest.raises(ValueError, match=r"^negative$") as caught:
        instantiate({"_target_": "own_module.Own", "size": -1}, "x", ["own_module.Own"])
    assert not isinstance(caught.value, UserError)
    node = {"_target_": "medcnn.nets.build", "name": "x", "in_channels": 1, "num_classes": 2}
    with pytest.raises(UserError, match=r"model\.name=x"):
        instantiate(node, "model")


@pytest.mark.parametrize(
    "options",
    [
        {"flip": {"_target_": "os.system"}},
        {"flip": [{"_target_": "os.system"}]},
        {"flip": [[{"deep": {"_target_": None}}]]},
    ],
)
def test_nested_targets_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"augment\.flip.*a _target_ inside another one's"):
        instantiate({"_target_": "medcnn.data.augment.Augment", **options}, "augment")


@pytest.mark.parametrize("node", [None, 3, "torch.optim.SGD", [{"_target_": "torch.optim.SGD"}]])
def test_what_is_no_config_is_refused(node: Any) -> None:
    with pytest.raises(UserError, match=r"callbacks\.x=.* is no config with a _target_"):
        instantiate(node, "callbacks.x")


def test_conf_dir_is_inside_a_wheel_or_beside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (conf_dir() / "train.yaml").is_file()
    (tmp_path / "medcnn" / "conf").mkdir(parents=True)
    monkeypatch.setattr(config, "__file__", str(tmp_path / "medcnn" / "jobs" / "instantiate.py"))
    assert conf_dir() == tmp_path / "medcnn" / "conf"
    (tmp_path / "medcnn" / "conf").rmdir()
    assert conf_dir() == tmp_path / "conf"


def bomb(levels: int) -> str:
    """A YAML text of a few lines that stands for 9 ** levels values."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for k in range(1, levels):
        lines.append(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]")
    return "\n".join(lines)


def test_aliases_of_aliases_are_counted_before_they_are_followed(tmp_path: Path) -> None:
    for fine in ("a: 1", "a: &a [1, 2]\nb: *a", bomb(4), "a: 'Q&A'"):
        check_yaml(fine)
    with pytest.raises(yaml.YAMLError, match="aliases make more than 1000000 values"):
        check_yaml(bomb(20))
    with pytest.raises(yaml.YAMLError, match="aliases make more than"):
        check_yaml("a: &a [*a]")
    (tmp_path / "config.yaml").write_text(bomb(20))
    with pytest.raises(UserError, match=r"its config\.yaml can't be read"):
        RunDir(tmp_path).read_config()


def test_a_config_file_of_aliases_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from medcnn.predict import predict

    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "bomb.yaml").write_text(bomb(20))
    arguments = ("--config-dir", str(tmp_path), "+experiment=bomb", "images=x", "checkpoint=x")
    assert jobs.command(monkeypatch, predict, "predict", *arguments) == 2
    assert "a config file can't be read: its aliases make more than" in capsys.readouterr().err
