"""Keys and values of a config are looked at before anything starts."""

import copy
from typing import get_args

import jobs
import pytest
import torch
from omegaconf import OmegaConf

from medcnn.cam import METHODS
from medcnn.classifier.classifier import CALIBRATIONS
from medcnn.classifier.normalise import KINDS
from medcnn.errors import UserError
from medcnn.evidence.plan import GROUPS
from medcnn.jobs.instantiate import conf_dir
from medcnn.jobs.settings.commands import Train
from medcnn.jobs.settings.groups import PARAMETERS
from medcnn.jobs.settings.read import ROOTS, check, read, read_stored
from medcnn.jobs.settings.values import Calibration, Method, Normalisation, ScoreGroup
from medcnn.objective import Objective
from medcnn.objective.choice import FUNCTIONS, tasks_of

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

ASKED = {"explain": ["checkpoint=x"], "features": ["checkpoint=x", "image=x"]}
ASKED |= {"predict": ["images=x"], "report": ["runs=[x]"]}


def test_the_words_are_those_of_the_modules() -> None:
    assert get_args(Method) == METHODS
    assert get_args(ScoreGroup) == GROUPS
    assert get_args(Normalisation) == KINDS
    assert get_args(Calibration) == CALIBRATIONS


@pytest.mark.parametrize("root", ROOTS)
def test_the_defaults_pass_and_are_written_as_they_were(root: str) -> None:
    check(jobs.composed(root), root)
    cfg = jobs.composed(root, *ASKED.get(root, ()))
    settings = read(cfg, root)
    OmegaConf.resolve(cfg)
    assert settings.yaml() == OmegaConf.to_yaml(cfg)


def test_each_kind_of_value() -> None:
    cfg = jobs.compose("train", "trainer.devices=auto", "cache.memory=2 GB", "transfer.head_lr=3")
    assert jobs.compose("train", "cache.disk=1e9").cache.disk == 1e9
    assert (cfg.cache.memory, cfg.transfer.head_lr, cfg.trainer.limit_val_batches) == ("2 GB", 3, 1)
    given = ("checkpoint=x", "methods=cam", "scores=all", "seeds=y")
    cfg = jobs.compose("explain", *given)
    assert (cfg.methods, cfg.scores, cfg.seeds) == (["cam"], "all", ["y"])


def test_the_config_of_an_older_run() -> None:
    stored = jobs.compose("train", "+callbacks.mine._target_=a.B").plain()
    before = copy.deepcopy(stored)
    for group in ("spreadsheet", "average", "transfer", "regularise", "diagnosis"):
        del before[group]
    del before["trainer"]["requeue"]
    before["dropped"] = before["cam"]["dropped"] = 1
    read = [read_stored(Train, given, "config.yaml").model_dump() for given in (before, stored)]
    assert read[0] == read[1]
    assert before["dropped"] == 1
    before["batch_size"] = 0
    with pytest.raises(UserError, match=r"^run/config\.yaml: batch_size=0: give a whole number"):
        read_stored(Train, before, "run/config.yaml")


@pytest.mark.parametrize(
    ("root", "override", "message"),
    [
        ("train", "cam.method=gradcamm", "cam.method=gradcamm: choose one of cam, gradcam"),
        ("train", "cache.memory=lots", "cache.memory=lots: give a size such as"),
        ("train", "evaluation.subgroups=[1]", "evaluation.subgroups=1: give a word"),
        ("train", "cache.disk=auto", "cache.disk=auto: give a size such as"),
        ("train", "trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1: give a number ab"),
        ("train", "regularise.mixup=-1", "regularise.mixup=-1: give a number, at least 0"),
        ("train", "regularise.max_norm=0", "regularise.max_norm=0: give a number above 0, or null"),
        ("train", "+regularise.l3=1", "there is no key regularise.l3"),
        ("train", "trainer.accelerator=ipu", "trainer.accelerator=ipu: choose one of auto"),
        ("train", "trainer.requeue=1", "trainer.requeue=1: choose one of true, false"),
        ("train", "trainer.deterministic=1", "trainer.deterministic=1: choose one of true"),
        ("train", "trainer.limit_val_batches=few", "trainer.limit_val_batches=few: give a share"),
        ("train", "transfer.head_lr=high", "transfer.head_lr=high: give a number"),
        ("train", "shuffle_labels=maybe", "shuffle_labels=maybe: choose one of true, false"),
        ("train", "folds=2.5", "folds=2.5: give a whole number"),
        ("evaluate", "tta=mirror", "tta=mirror: choose one of none, flips"),
        ("predict", "dense=1", "dense=1: choose one of true, false"),
        ("explain", "methods=[cam,magic]", "methods=magic: choose one of cam"),
        ("explain", "scores=beauty", "scores=beauty: choose one of all, localisation"),
        ("features", "channels=99", "channels=99: give a whole number, 1 … 32"),
        ("data", "n=0", "n=0: give a whole number, 1 … 500"),
        ("data", "on_error=go", "on_error=go: choose one of stop, skip"),
        ("data", "on_error=null", "on_error=None: choose one of stop, skip"),
        ("data", "strict=1", "strict=1: choose one of true, false"),
        ("data", "pseudonymise=maybe", "pseudonymise=maybe: choose one of true, false"),
        ("data", "near_duplicates=2", "near_duplicates=2: choose one of true, false"),
        ("data", "cache.folder=null", "cache.folder=None: give a path"),
        ("data", "splits.shares.val=0", "splits.shares.val=0: give a number above 0"),
        ("data", "fold=5", "fold=5: give a whole number, 0 … 4"),
        ("train", "transfer.first_lr=0", "transfer.first_lr=0: give a share, above 0 and up to 1"),
        ("train", "transfer.head_lr=0", "transfer.head_lr=0: give a number above 0"),
        ("train", "objective.task=ranking", "objective.task=ranking: choose one of binary, multi"),
        ("train", "loss.name=focall", "loss.name=focall: choose one of none, cross_entropy, focal"),
        ("train", "loss.name=focal", "loss.name=focal: write loss=focal, which sets its param"),
        ("train", "evaluation.prevalence=2", "evaluation.prevalence=2: give a share between 0"),
        ("train", "evaluation.subgroups=sex", "evaluation.subgroups=sex: give names in br"),
    ],
)
def test_a_value_that_cannot_be(root: str, override: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}".replace("[", r"\[")):
        check(jobs.composed(root, override), root)


@pytest.mark.parametrize(
    ("root", "override", "key"),
    [
        ("train", "+no_such_key=1", "no_such_key"),
        ("train", "+cam.metod=cam", r"cam.metod \(did you mean cam.method"),
        ("train", "+splits.shares.rest=1", "splits.shares.rest"),
        ("train", "+objective.loss=focal", "objective.loss"),
        ("predict", "+dataset.size=8", "dataset.size"),
        ("evaluate", "+dataset.side=8", "dataset.side"),
    ],
)
def test_a_key_that_there_is_not(root: str, override: str, key: str) -> None:
    with pytest.raises(UserError, match=f"^there is no key {key}"):
        check(jobs.composed(root, override), root)


@pytest.mark.parametrize(
    ("choice", "override", "message"),
    [
        ("focal", "loss.gamma=-1", "loss.gamma=-1: give a number, at least 0"),
        ("focal", "loss.gamma=null", "loss.gamma=null: loss=focal needs a value"),
        ("focal", "+loss.tau=1", "loss.name=focal: write loss=focal"),
        ("cross_entropy", "loss.label_smoothing=1", "loss.label_smoothing=1: give a share, at le"),
        ("generalised_cross_entropy", "loss.q=0", "loss.q=0: give a share, above 0 and up to 1"),
        ("auc_margin", "loss.margin=0", "loss.margin=0: give a number above 0"),
        ("quantile", "loss.levels=[0.9,0.5]", "loss.levels=.*: give rising shares between 0 and 1"),
        ("quantile", "loss.levels=[0.1,0.9]", "loss.levels=.*: give rising shares between 0 and 1"),
        ("quantile", "loss.levels=0.5", "loss.levels=0.5: give rising shares between 0 and 1"),
        ("huber", "loss.delta=wide", "loss.delta=wide: give a number above 0"),
        ("focal", "+loss.gama=1", r"there is no key loss.gama \(did you mean loss.gamma"),
    ],
)
def test_parameters_of_a_loss(choice: str, override: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        check(jobs.composed("train", f"loss={choice}", override), "train")


def test_a_loss_keeps_its_own_parameters_alone() -> None:
    settings = jobs.compose("train", "loss=focal", "loss.gamma=3")
    assert settings.plain()["loss"] == {"name": "focal", "gamma": 3}
    stored = settings.plain()
    assert read_stored(Train, stored, "config.yaml").plain() == stored
    del stored["loss"]
    assert read_stored(Train, stored, "config.yaml").plain()["loss"] == {"name": None}


def test_the_losses_of_the_config_are_those_of_the_objective() -> None:
    files = {path.stem for path in (conf_dir() / "loss").glob("*.yaml")} - {"auto"}
    assert files == {*FUNCTIONS} == {*PARAMETERS} - {None}
    for name in files:
        node = jobs.compose("train", f"loss={name}").plain()["loss"]
        assert node["name"] == name
        for task in tasks_of(name):
            classes = 2 if task == "binary" else 3
            objective = Objective(task, classes, loss=node, prior=[0.4] * classes)
            labels = torch.full((2, classes), 1.0 if task == "regression" else 1)
            chosen = labels if task in ("multilabel", "regression") else labels[:, 0]
            assert objective.loss(torch.zeros(2, objective.num_outputs), chosen).isfinite()


def test_options_of_a_call_are_its_own_to_refuse() -> None:
    calls = ("+model.flavour=sweet", "+trainer.max_time=1", "+callbacks.mine._target_=a.B")
    check(jobs.composed("train", *calls), "train")
