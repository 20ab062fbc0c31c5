import torch

from medcnn.nets.aggregators.pooling import Max, Mean

BAG = torch.tensor([0, 0, 1])
VALUES = torch.tensor([[1.0, 5.0], [3.0, -1.0], [7.0, 2.0]])


def test_mean_and_maximum_are_those_of_each_study() -> None:
    assert Mean(2)(VALUES, BAG, {}).tolist() == [[2.0, 2.0], [7.0, 2.0]]
    assert Max(2)(VALUES, BAG, {}).tolist() == [[3.0, 5.0], [7.0, 2.0]]


def test_weights_are_parts_of_each_study() -> None:
    assert Mean(2).weights(VALUES, BAG, {}).tolist() == [0.5, 0.5, 1.0]
    assert Max(2).weights(VALUES, BAG, {}).tolist() == [0.5, 0.5, 1.0]  # one feature each


def test_images_that_share_a_maximum_share_its_weight() -> None:
    values = torch.tensor([[1.0], [1.0], [0.0]])
    assert Max(1).weights(values, torch.zeros(3, dtype=torch.int64), {}).tolist() == [0.5, 0.5, 0.0]
