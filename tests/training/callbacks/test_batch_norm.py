"""Batch norms outside training divide by what the weights of now give."""

from pathlib import Path

import jobs
import numpy as np
import pytest
import torch
from torch import nn

from medcnn.classifier.checkpoint import load
from medcnn.data.phantom.dataset import phantom
from medcnn.training.callbacks.batch_norm import fresh_statistics


def test_statistics_are_the_means_over_batches() -> None:
    batches = torch.randn(3, 8, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 3 + 5
    norm, frozen = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    net = nn.ModuleList([norm, frozen]).eval()
    net.train = lambda mode=True: norm.train(mode)  # type: ignore[assignment, method-assign, return-value]
    norm(batches[0])
    with fresh_statistics(net) as norms:
        assert norms == [norm]
        for batch in batches:
            norm(batch)
    values = batches.numpy().transpose(0, 2, 1, 3, 4).reshape(3, 2, -1)
    np.testing.assert_allclose(norm.running_mean, values.mean(2).mean(0), rtol=1e-5)
    np.testing.assert_allclose(norm.running_var, values.var(2, ddof=1).mean(0), rtol=1e-5)
    assert not norm.training
    assert norm.momentum == 0.1
    assert frozen.running_mean.tolist() == [0, 0]


@pytest.mark.no_cover
def test_one_step_of_training_is_enough_for_them(tmp_path: Path) -> None:
    """With running means, nine tenths of the first values would be left after it."""
    options = ("model=resnet", "model.width=0.125", "trainer.max_epochs=1", "batch_size=64")
    run = jobs.train(tmp_path / "run", *jobs.QUICK, *options, "augment=none")
    classifier = load(run / "checkpoints" / "best.ckpt")
    samples = phantom(size=28, patients=36, images_per_patient=2)
    images = samples.images[samples.rows("train")].float() / 255
    with torch.inference_mode():
        evaluated = classifier(images)
        for norm in classifier.net.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.train()
        by_batch = classifier(images)
    assert len(images) <= 64
    torch.testing.assert_close(evaluated, by_batch, atol=0.02, rtol=0.02)
