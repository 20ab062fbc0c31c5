from pathlib import Path

import jobs
import pytest
import torch
from pytorch_lightning.plugins import MixedPrecision

from medcnn.errors import UserError
from medcnn.training.from_config import make_optimizer


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("optimizer.lr=-1", r"optimizer\.lr=-1: give a number, at least 0"),
        ("optimizer=sam optimizer.lr=fast", r"optimizer\.lr=fast: give a number, at least 0"),
        ("optimizer=lion optimizer.weight_decay=null", r"weight_decay=None: give a number"),
        ("optimizer=rmsprop optimizer.alpha=2", r"alpha=2: give a number, at least 0 and below 1"),
        ("optimizer=lion optimizer.betas=0.9", r"optimizer\.betas=0\.9: give two numbers"),
        ("optimizer=lion optimizer.betas=[0.9,1]", r"optimizer\.betas=\[0\.9, 1\]: give two"),
        ("optimizer=sam optimizer.base=lion", "base=lion: choose one of sgd, adamw"),
        ("optimizer=sam optimizer.rho=0", r"optimizer\.rho=0: give a number above 0"),
        ("optimizer=sam optimizer.momentum=-1", r"optimizer\.momentum=-1: give a number"),
        (
            "optimizer=schedule_free optimizer.warmup_steps=long scheduler=none",
            r"warmup_steps=long: give a whole number, at least 0",
        ),
        ("optimizer=sam trainer.accumulate_grad_batches=2", "both its gradients on one batch"),
        ("optimizer=sam trainer.precision=16-mixed", "choose bf16-mixed or 32-true"),
        (
            "optimizer=schedule_free scheduler=none regularise.max_norm=3",
            r"max_norm=3: optimizer=schedule_free tests other weights",
        ),
        ("average=ema average.decay=1", r"average\.decay=1: a number between 0 and 1"),
        ("average=ema average.start=0.5", r"average\.start=0\.5: give a whole number"),
        ("average=ema average.warmup=1", r"average\.warmup=1: choose one of true, false"),
        ("average=swa average.rate=0", r"average\.rate=0: give a share"),
        ("average=swa average.anneal=2", r"average\.anneal=2: give a share, 0 … 1"),
        ("average=soup average.k=1", r"average\.k=1: give a whole number, at least 2"),
        ("average=soup average.how=all", r"average\.how=all: choose one of greedy, uniform"),
        (
            "average=snapshots trainer.max_epochs=7",
            r"scheduler\.cycles=5: with average=snapshots a",
        ),
        ("average=snapshots trainer.max_epochs=10 scheduler.growth=2", r"growth=2: with average"),
        (
            "average=snapshots average.cycles=2 scheduler=none",
            r"average\.cycles=2: take those of scheduler=cosine_restarts",
        ),
        ("average=ema average.start=50 trainer.max_epochs=50", r"start=50: it never begins"),
        ("average=snapshots scheduler=cosine", "needs cycles: scheduler=cosine_restarts"),
        ("average=swa +average.cycles=2", "keyword argument 'cycles'"),
        ("scheduler.warmup=2", r"scheduler\.warmup=2: a share of the training"),
        ("model.depth=19", r"model\.depth=19: resnet comes in depths 18, 34"),
        ("tta=flips augment.flip=[]", "tta=flips: the training mirrors no axis"),
        ("augment.flip=1", r"augment\.flip=1: give a list of the axes"),
        ("+augment.flipp=1", r"keyword argument 'flipp' \(did you mean flip\?\)"),
        (
            "callbacks=maps callbacks.maps.every=0",
            r"maps\.every=0: give a whole number",
        ),
        (
            "callbacks=early_stopping callbacks.early_stopping.mode=best",
            r"early_stopping: .* refuses",
        ),
        ("logger=csv +logger.csv.nam=x", r"keyword argument 'nam' \(did you mean name\?\)"),
        ("+trainer.max_epoch=1", r"no key trainer\.max_epoch \(did you mean trainer.max_epochs\?"),
        ("objective.class_weights=[1,true]", r"class_weights=\[1, True\]: null, balanced"),
        ("objective.class_weights=heavy", "class_weights=heavy: null, balanced, effective or"),
    ],
)
def test_wrong_options_are_refused_before_data_are_read(
    tmp_path: Path, option: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        jobs.train(tmp_path / "run", "dataset=csv", "dataset.path=none.csv", *option.split())


def test_gradients_can_be_clipped_in_half_precision() -> None:
    cfg = jobs.compose("train", "dataset=phantom", "trainer.precision=16-mixed")
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    scaler = torch.amp.GradScaler("cuda", enabled=False)
    precision = MixedPrecision("16-mixed", "cuda", scaler)
    precision.clip_gradients(make_optimizer(cfg, [], [{"params": [weight]}]), 1.0)
    torch.testing.assert_close(weight.grad, torch.tensor([0.6, 0.8]))
