"""The probe beside scikit-learn and scipy; chance beside its closed form."""

import jobs
import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from medcnn.training.diagnosis.parts import Parts, make_parts, preserved
from medcnn.training.diagnosis.probe import answered, correlation, pooled, told
from medcnn.training.diagnosis.start import known_losses


def parts_of(*overrides: str) -> Parts:
    """A small training on two classes."""
    cfg = jobs.compose("train", "model=lenet", "model.version=modern", *overrides)
    cfg.transfer.mode = "scratch"
    return make_parts(cfg, jobs.toy([30, 10, 10]), [])


def test_answers_are_those_of_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    x, y, asked = rng.normal(2, 3, (40, 6)), rng.normal(size=40), rng.normal(size=(5, 6))
    scaler = StandardScaler().fit(x)
    ridge = Ridge(alpha=6.0).fit(scaler.transform(x), y)
    np.testing.assert_allclose(answered(x, y, asked), ridge.predict(scaler.transform(asked)))
    constant = np.concatenate([x, np.ones((40, 1))], 1)
    more = np.concatenate([asked, 7 * np.ones((5, 1))], 1)
    np.testing.assert_allclose(answered(constant, y, more), answered(x, y, asked))


def test_z_is_that_of_fishers_transformation() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    y = x + rng.normal(size=50)
    r, z = correlation(x, y, 50)
    assert r == pytest.approx(stats.pearsonr(x, y).statistic)
    low, _ = stats.pearsonr(x, y).confidence_interval(0.95)
    assert np.tanh((z - stats.norm.ppf(0.975)) / np.sqrt(47)) == pytest.approx(low)
    assert correlation(x, np.ones(50), 50) == (0.0, 0.0)


def test_nothing_is_told_of_noise_nor_of_a_single_class() -> None:
    rng = np.random.default_rng(0)
    zs = [
        told(rng.normal(size=(60, 30)), np.eye(2)[rng.integers(0, 2, 60)], np.arange(60))[1]
        for _ in range(40)
    ]
    assert max(zs) < 3
    assert told(rng.normal(size=(60, 30)), np.ones((60, 1)), np.arange(60)) == (0.0, 0.0)


def test_two_images_of_a_patient_count_once() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(rng.integers(0, 2, 40), 2)[:, None].astype(float)
    features = np.repeat(rng.normal(size=(40, 200)), 2, 0)  # a patient is known by its noise
    assert abs(told(features, truth, np.repeat(np.arange(40), 2))[1]) < 3
    assert told(features, truth, np.arange(80))[1] > 3


def test_images_are_pooled_with_their_spread_and_extremes() -> None:
    images = torch.arange(2 * 4 * 4.0).view(2, 1, 4, 4)
    got = pooled(images)
    assert got.shape == (2, 16 + 4)
    whole = [7.5, float(np.std(np.arange(16), ddof=1)), 0.0, 15.0]
    assert got[0].tolist() == pytest.approx([*range(16), *whole])
    assert pooled(torch.zeros(2, 1, 8, 8, 8)).shape == (2, 6**3 + 4)


@pytest.mark.parametrize("task", ["multiclass", "binary"])
def test_chance_is_its_closed_form(task: str) -> None:
    parts = parts_of(f"objective={task}")
    truth = torch.tensor([0, 0, 0, 1])
    losses = known_losses(parts, truth)
    assert losses.chance == pytest.approx(np.log(2), rel=1e-5)
    assert losses.shares == pytest.approx(stats.entropy([0.75, 0.25]), rel=1e-3)
    assert losses.least == pytest.approx(0, abs=0.01)


def test_the_least_loss_of_smoothed_labels() -> None:
    parts = parts_of("objective=binary", "loss=cross_entropy")
    losses = known_losses(parts, torch.tensor([0, 0, 0, 1]))
    assert losses.least == pytest.approx(stats.entropy([0.95, 0.05]), rel=1e-3)
    assert losses.part(0.5, of=losses.chance) == (losses.chance + losses.least) / 2


def test_all_is_put_back() -> None:
    parts = parts_of()
    module = parts.module
    module.classifier.net.get_submodule("features.c1").eval()
    modes = [part.training for part in module.modules()]
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    weights |= {name: value.clone() for name, value in module.named_buffers()}
    states = torch.get_rng_state(), np.random.default_rng, module.cache
    module.cache = cache = object()  # type: ignore[assignment]
    with preserved(module):
        assert module.cache is None
        torch.rand(3)
        module.eval()
        loss = module.training_loss(parts.batch(parts.rows("train", 4)))
        loss.backward()
        for one in (*module.parameters(), *module.buffers()):
            one.data.add_(1)
            one.requires_grad_(False)
    assert module.cache is cache
    assert torch.equal(torch.get_rng_state(), states[0])
    assert [part.training for part in module.modules()] == modes
    after = module.state_dict() | dict(module.named_buffers())
    assert jobs.same_weights(after, weights)
    assert all(one.requires_grad and one.grad is None for one in module.parameters())
