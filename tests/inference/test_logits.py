"""The logits of a data set."""

import logging

import torch

from medcnn.inference.logits import Collected


def test_collected_comes_in_order_of_the_rows() -> None:
    collected = Collected()
    collected.update(torch.tensor([7, 2]), torch.tensor([[7.0], [2.0]]), torch.tensor([70, 20]))
    collected.update(torch.tensor([4]), torch.tensor([[4.0]]), torch.tensor([40]))
    epoch = collected.gathered()
    assert epoch["row"].tolist() == [2, 4, 7]
    assert epoch["logits"].tolist() == [[2.0], [4.0], [7.0]]
    assert epoch["label"].tolist() == [20, 40, 70]
    collected.reset()
    collected.update(torch.tensor([5]), torch.tensor([[5.0]]), torch.tensor([50]))
    assert {name: values.shape for name, values in collected.gathered().items()} == {
        "row": (1,), "logits": (1, 1), "label": (1,),
    }  # fmt: skip


def test_notices_of_the_library_are_kept_off_the_screen() -> None:
    assert logging.getLogger("pytorch_lightning.utilities.rank_zero").getEffectiveLevel() > 20
