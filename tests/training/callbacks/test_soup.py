"""The soup is the mean of epochs, and takes their place only where it is no worse."""

from pathlib import Path
from typing import Any

import jobs
import pandas as pd
import pytest
import torch

from medcnn.training.callbacks import soup

RUN = (*jobs.QUICK, "average=soup", "average.k=2", "trainer.max_epochs=3", "optimizer.lr=0.01")


def parts(run: Path) -> list[dict[str, torch.Tensor]]:
    """The weights that were kept, those of the best epoch first."""
    scores = pd.read_csv(run / "metrics.csv").set_index("epoch")["val/score"]
    epochs = scores.sort_values(ascending=False, kind="stable").index[:2]
    folder = run / "checkpoints" / "soup"
    assert {path.name for path in folder.iterdir()} >= {f"epoch-{k}.ckpt" for k in epochs}
    files = [folder / f"epoch-{k}.ckpt" for k in epochs]
    loaded = [torch.load(file, map_location="cpu", weights_only=True) for file in files]
    return [one["state_dict"] for one in loaded]


@pytest.mark.parametrize("how", ["greedy", "uniform"])
def test_a_soup_is_the_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    figure = soup._figure
    found: list[float] = []

    def higher(*given: object) -> float:
        found.append(figure(*given))  # type: ignore[arg-type]
        return 2.0

    monkeypatch.setattr(soup, "_figure", higher)
    run = jobs.train(tmp_path / "run", *RUN, f"average.how={how}", "logger=csv")
    assert "soup of 2 of the 2 best epochs: validation figure 2.0000" in capsys.readouterr().out
    first, second = parts(run)
    best = jobs.checkpoint(run)["state_dict"]
    assert len(found) == 1 + (how == "greedy")
    for name, value in best.items():
        torch.testing.assert_close(value, (first[name] + second[name]) / 2, rtol=1e-6, atol=1e-8)
    assert -jobs.metrics(run)["val/loss"]["value"] == pytest.approx(found[-1], abs=1e-5)
    assert jobs.status(run)["best"] == 2
    (curves,) = (run / "csv").glob("*.csv")
    assert len(pd.read_csv(curves)["val/score"].dropna()) == 3  # nothing of the soup


def test_a_worse_soup_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(soup, "_figure", lambda *_: -9.0)
    save = soup.save

    def save_as_on_a_gpu(content: dict[str, Any], path: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
            save(content, path)

    monkeypatch.setattr(soup, "save", save_as_on_a_gpu)
    run = jobs.train(tmp_path / "run", *RUN, "average.how=uniform")
    assert "the best epoch is tested" in capsys.readouterr().out
    assert jobs.same_weights(jobs.checkpoint(run)["state_dict"], parts(run)[0])
