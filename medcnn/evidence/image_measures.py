"""Scores study by study: of the images that are said to be important, of views, of channels.

As `medcnn.evidence.measures`: one function a group of scores, from a batch to a table whose rows
are studies; of channels also single images.
"""

from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from medcnn.cam import channels as of_channels
from medcnn.cam.scores import image_agreement, image_deletion, image_pointing_hits
from medcnn.cam.scores.sanity import DECIDING_STEP, ORDERS, randomised
from medcnn.cam.studies import of_each_study
from medcnn.data.image import layout_of
from medcnn.evidence.channels import channel_groups
from medcnn.evidence.explainer import Batch, Explainer
from medcnn.evidence.measures import Columns, as_table
from medcnn.evidence.studies import ATTENTION, LEAVING_OUT, importance
from medcnn.nets.chunks import in_chunks


def image_localisation(explainer: Explainer, batch: Batch, method: str) -> pd.DataFrame:
    """Does the most important image for the true class show the lesion? Some of each study do."""
    assert batch.masks is not None
    truth, bag = explainer.truth(batch.rows), batch.bag
    lesion = batch.masks.flatten(1).any(1)
    values = importance(explainer, batch.images, truth, method, batch.context)
    shares = [there.double().mean() for (there,) in of_each_study(bag, lesion)]
    columns = {
        "image_pointing_game": image_pointing_hits(values, lesion, bag),
        "lesion_images": torch.stack(shares),
    }
    return as_table(batch, columns)


def image_faithfulness(explainer: Explainer, batch: Batch, method: str) -> pd.DataFrame:
    """Does the decision depend on the images that are said to be important?

    Attention doesn't say whether an image speaks for the class or against it, so it is compared
    with how far the score changes without each (S. Jain, B. C. Wallace, "Attention is not
    explanation", NAACL 2019), all else with how far it falls.
    """
    classifier, context, bag = explainer.classifier, batch.context, batch.bag
    assert context is not None
    _, decided = explainer.decided(batch.images, context)
    values = importance(explainer, batch.images, decided, method, context)
    columns: Columns = {}
    if method != LEAVING_OUT:
        effects = importance(explainer, batch.images, decided, LEAVING_OUT, context)
        effects = effects.abs() if method == ATTENTION else effects
        columns["image_agreement"] = image_agreement(values, effects, bag)
    if classifier.objective.task != "regression":
        with torch.no_grad(), classifier.autocast():
            activations = classifier.features(batch.images)

        def probability(logits: Tensor) -> Tensor:
            return classifier.probs(logits).gather(1, decided[:, None])[:, 0]

        columns["image_deletion"] = image_deletion(
            classifier.head, activations, context, probability, values
        )
    return as_table(batch, columns)


def image_sanity(explainer: Explainer, batch: Batch, method: str) -> pd.DataFrame:
    """Does the order of the images change when the net's weights are random?"""
    _, decided = explainer.decided(batch.images, batch.context)

    def values_of(net: nn.Module) -> Tensor:
        return importance(explainer, batch.images, decided, method, batch.context, net)

    net = explainer.classifier.net
    original, columns = values_of(net), Columns()
    for order in ORDERS:
        for number, (part, twin) in enumerate(randomised(net, order)):
            alike = image_agreement(original, values_of(twin), batch.bag)
            columns[f"{order}_{number}_{part}_rank"] = alike
            if (order, number) == ("cascading", DECIDING_STEP):
                columns["randomisation_rank"] = alike
    return as_table(batch, columns)


def views(explainer: Explainer, batch: Batch, method: str) -> pd.DataFrame:
    """How much does the score of the decided class rest on a view, `method` by its name?"""
    studies, context = explainer.samples.studies, batch.context
    assert studies is not None
    assert context is not None
    _, decided = explainer.decided(batch.images, context)
    there = context["view"] == studies.view_names.index(method)
    columns = {}
    sources = {"view_effect": LEAVING_OUT}
    if explainer.attends:
        sources["view_attention"] = ATTENTION
    for name, source in sources.items():
        values = importance(explainer, batch.images, decided, source, context)
        columns[name] = torch.full((len(batch.rows),), torch.nan, device=values.device)
        columns[name][batch.bag[there]] = values[there]
    return as_table(batch, columns)


def channels(explainer: Explainer, batch: Batch, method: str) -> pd.DataFrame:
    """How much does the score of the decided class rest on a channel, `method` by its name?"""
    classifier, bag = explainer.classifier, batch.bag
    _, decided = explainer.decided(batch.images, batch.context)
    named = channel_groups(classifier.card)
    groups = list(named.values())

    net: Any = classifier.net
    given = () if batch.context is None else (batch.context,)

    def score(images: Tensor) -> Tensor:
        maps = in_chunks(net.features, images, getattr(net, "chunk", None))
        return classifier.objective.score(net.head(maps, *given), decided)

    images, layout, missing = classifier.normalise(batch.images), layout_of(classifier.card), None
    if layout is not None and layout.presence:  # as the net knows files that miss
        missing = classifier.normalise(torch.zeros_like(batch.images))
    place = list(named).index(method)
    with classifier.autocast():
        effects = of_channels.removing(images, [groups[place]], score, missing)[:, 0]
        products = of_channels.gradient_times_input(images, groups, score)
    of_study = torch.stack([part.mean(0) for (part,) in of_each_study(bag, products)])
    share = of_study[:, place] / of_study.sum(1)
    return as_table(batch, {"removal_effect": effects, "gradient_share": share})
