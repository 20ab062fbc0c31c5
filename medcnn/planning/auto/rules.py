"""The rules of a plan, in the order in which they are asked.

Each rule sees the facts of the data, the machine, the time, and what the rules before it have
chosen, and gives values with the reason in words; None where it has nothing to say. "Measured"
names what it rests on. A rule whose first key is set by hand isn't asked; of the other keys
those that are set by hand stay as they are.
"""

from math import ceil

from medcnn.errors import UserError
from medcnn.jobs.progress import duration
from medcnn.planning.auto.nets import (
    CELLS,
    SIZES,
    finer,
    finest,
    lesion_share,
    lesion_size,
    narrowest,
    passes_side_by_side,
    sizes,
    takes_strides,
    wanted,
    widths,
)
from medcnn.planning.auto.rule import RULES, Choice, rule
from medcnn.planning.auto.sides import mirrored
from medcnn.planning.auto.time_needed import Needs
from medcnn.training.transfer import has_weights

__all__ = ["RULES"]  # all rules of this file

FOLDS = 6  # networks; of fewer each would lack more of the images
WORTH = 1.1  # times the passes, for which networks are trained side by side
IN_A_FOLD = 3  # images of the rarest class, and patients, at least
AROUND = 0.85  # share of an image that a body fills which is worth to be cut to
ALIKE = 1.1  # times as long: extents that need no common scale
MAPS = 4  # in the gallery of one of several networks
PASSES = 30  # over the training images that a net has to have to learn them
MOST_PASSES = 100
ENOUGH = 50_000  # images seen by one network, passes counted, before time goes to anything else
LEAST_PASSES = 3  # below, a run is no training
LEAST_SEEN = 1500  # images, passes counted: below that, no net learns
MARGIN = 0.9  # share of the time left that is planned with
LEAST_BATCH = 8  # images that memory has to hold in a step
SMALL, MANY, LARGE = 300, 5000, 20000  # images, for the batch size


def enough(n: Needs) -> float:
    """Return the passes that a network has before there are several of them, or a finer map."""
    return min(MOST_PASSES, max(PASSES, ENOUGH / n.data.images))


@rule("dataset.crop")
def crop(n: Needs) -> Choice | None:
    """To the body, where there is much around it.

    Measured: left out it changes the AUROC on brain MRI by 0.006, less than another seed does (one
    seed, docs/plan_ablation.csv).
    """
    f = n.data
    if f.body is None or f.kind == "US":  # whose dim depths aren't told from what lies around
        return None
    shown = f"the body and what lies beside it fill {f.body:.0%} of an image"
    if f.body > AROUND:
        return Choice({"dataset.crop": "none"}, shown)
    return Choice({"dataset.crop": "body"}, f"{shown}: the rest is cut off")


@rule("fold")
def folds(n: Needs) -> Choice | None:
    """Few images and time enough: k-fold cross-validation, whose networks are averaged.

    Each network trains on other images, so that all are used, and the threshold is chosen on all of
    them. One network with all its passes and a finer map goes before: of six, each lacks a quarter
    of the images, of fewer each lacks more. Measured (docs/findings/plan.md): with the same time
    the mean of four or six networks with a coarser map is behind that one, by 0.018 to 0.049 (AUROC
    on held-out images of BreastMNIST, four pairs), and in accuracy; six finer ones, not yet.
    """
    f = n.data
    if not f.few:
        return Choice({"fold": None}, f"{f.images} images are enough for one validation split")
    # Of many labels some are always rare; a fold without one of them still trains the others.
    fewest = f.patients if f.task in ("multilabel", "regression") else min(f.rarest, f.patients)
    count = FOLDS if n.is_free("folds") else n.cfg.folds
    if fewest < IN_A_FOLD * count:
        return Choice(
            {"fold": None},
            f"{f.images} images of {f.patients} patients, {f.rarest} of the rarest class, are too "
            f"few for {count} folds",
        )
    several = n.given({"fold": "all", "folds": count, "cam.n": MAPS})
    passes = max(passes_side_by_side(several, finest(n)))
    if passes < enough(n):
        return Choice(
            {"fold": None}, f"there is no time for {count} networks: {passes:.0f} passes each"
        )
    return Choice(
        {"fold": "all", "folds": count},
        f"{f.images} images are few: {count} networks, each trained without another part of them, "
        "are judged on what they haven't seen, and averaged",
    )


@rule("folds_at_once")
def side_by_side(n: Needs) -> Choice | None:
    """Networks side by side where threads help a single one little.

    Reckoned from the speeds of one thread and of all, which the plan measures.
    """
    passes = passes_side_by_side(n)
    best = max(range(len(passes)), key=passes.__getitem__)
    if best == 0 or passes[best] < WORTH * passes[0]:
        return None
    return Choice(
        {"folds_at_once": best + 1},
        f"side by side there is time for {passes[best]:.0f} passes, one after the other for "
        f"{passes[0]:.0f}",
    )


@rule("dataset.size")
def size(n: Needs) -> Choice | None:
    """The smallest size at which a lesion is seen, and in which there is time to train.

    Measured: left out it changes the AUROC on brain MRI by 0.009, less than another seed does (one
    seed, docs/plan_ablation.csv).
    """
    f = n.data
    if f.size is not None:
        return None
    known, lesion = sizes(n), lesion_share(n)
    narrow = [{"dataset.size": s} | narrowest(n) for s in known]
    fits = [n.passes(one) >= PASSES and n.fits(one, LEAST_BATCH) for one in narrow]
    most = max((s for s, there in zip(known, fits, strict=True) if there), default=known[0])
    if lesion is None:
        return Choice(
            {"dataset.size": most},
            f"the largest of {', '.join(map(str, SIZES))} px for which there is time and memory; "
            f"the files have {'×'.join(map(str, f.own))}",
        )
    seen = lesion_size(n)
    chosen = min(seen, most)
    return Choice(
        {"dataset.size": chosen},
        f"a lesion, {lesion:.0%} of the edge long, is {lesion * chosen:.0f} px of it"
        + ("" if chosen == seen else ", for which there is time and memory"),
    )


@rule("dataset.spacing")
def spacing(n: Needs) -> Choice | None:
    """One scale for all where the files show regions of unlike size, so that a mm is a mm.

    Measured: not yet, for of the sets that are at hand none says its spacings.
    """
    crop, known = n.cfg.dataset.get("crop"), n.data.extents
    if n.data.size is not None or known is None or crop not in known:
        return None
    if all(high <= ALIKE * low for low, high in known[crop]):
        return Choice({"dataset.spacing": None}, "the files show regions of like size: stretched")
    found = [round(high / side, 4) for (_, high), side in zip(known[crop], n.size, strict=True)]
    shown = ", ".join(f"{low:.3g} to {high:.3g}" for low, high in known[crop])
    return Choice(
        {"dataset.spacing": found},
        f"the files show {shown} mm: one scale for all, which each has to tell",
    )


@rule("cam.n")
def maps(n: Needs) -> Choice | None:
    """Fewer maps a training where there are several: the page shows some of each.

    Measured: a map of 512 × 512 pixels takes 0.4 s (see `medcnn.planning.auto.time_needed`).
    """
    if n.folds == 1:
        return None
    return Choice({"cam.n": MAPS}, f"{n.folds} networks have {MAPS} each in the gallery")


@rule("model")
def net(n: Needs) -> Choice | None:
    """A ResNet-18, as in the benchmark of MedMNIST (J. Yang et al. 2023). Measured: not yet."""
    values = {"model": "resnet", "model.depth": 18, "model.stem": "auto", "model.head": "gap"}
    return Choice(
        values, "learns from few and from many images; maps of 1/8 of the edge up to 96 px"
    )


@rule("model.strides")
def strides(n: Needs) -> Choice | None:
    """Fewer halvings of small images, whose map has as many cells then as one of ImageNet.

    They take twice the time, so only where enough is left. Measured: on BreastMNIST 0.003, 0.012
    and 0.028 ahead with equal passes (out-of-fold AUROC, three seeds, docs/recipes.csv), as a part
    of one network of a long budget more than several without (see `folds`).
    """
    found = finer(n.size) if takes_strides(n.cfg) else None
    if found is None or n.passes({"model.strides": found} | wanted(n)) < enough(n):
        return None
    return Choice({"model.strides": found}, f"a map of {CELLS} cells or more an edge")


@rule("transfer")
def transfer(n: Needs) -> Choice | None:
    """From given weights as `medcnn.training.transfer` says, else from random ones.

    Measured: docs/transfer.csv.
    """
    if has_weights(n.cfg):
        return Choice({"transfer": "auto"}, "by the number of images, and how the features fit")
    return Choice({"transfer": "scratch"}, "no weights are named to start from (model.weights)")


@rule("model.width")
def width(n: Needs) -> Choice | None:
    """The widest net that the time allows enough passes over the images, of few half as wide.

    Measured: on BreastMNIST half of the width has 0.867, all of it 0.835, a quarter 0.852
    (out-of-fold AUROC, one seed, docs/recipes.csv).
    """
    if not narrowest(n):
        return None
    allowed = widths(n)
    for w in allowed:
        passes = n.passes({"model.width": w})
        if passes >= PASSES and n.fits({"model.width": w}, LEAST_BATCH):
            break
    reason = f"time for {passes:.0f} passes over the images"
    if passes < PASSES:
        reason += ", fewer than a net wants"
    if w != allowed[0]:
        wider = {"model.width": 2 * w}
        reason += f"; a wider one would have {n.passes(wider):.0f}"
        reason += "" if n.fits(wider, LEAST_BATCH) else ", and no memory"
    return Choice({"model.width": w}, reason)


@rule("batch_size")
def batch(n: Needs) -> Choice | None:
    """Small batches, which make more steps of few images.

    Measured: 16 and 32 are alike on BreastMNIST (out-of-fold, one seed, docs/recipes.csv).
    """
    images, room = n.data.images, n.room({})
    size = 16 if images < SMALL else 32 if images < MANY else 64 if images < LARGE else 128
    if room is not None and room < size:
        if room < 2:
            raise UserError(
                "plan=auto: there is no memory for a step of two images; take smaller ones "
                "(dataset.size) or a narrower net (model.width)"
            )
        return Choice({"batch_size": room}, f"memory holds a step of {room} images")
    return Choice({"batch_size": size}, f"{images} images give {ceil(images / size)} steps a pass")


@rule("augment")
def augment(n: Needs) -> Choice | None:
    """Moves and exposures that few images lack; flips only where side carries no meaning.

    Measured: stronger moves aren't better on BreastMNIST (out-of-fold, one seed, docs/recipes.csv).
    """
    few = n.data.few
    flips, why = mirrored(n.data.kind)
    strength = "standard" if few else "light"
    many = "few images are varied" if few else "many images vary by themselves"
    return Choice({"augment": strength, "augment.flip": flips}, f"{many}; {why}")


@rule("tta")
def looks(n: Needs) -> Choice | None:
    """Mirrored looks at the test images, where training mirrors.

    Measured: on BreastMNIST 0.001 and 0.007 ahead (out-of-fold AUROC, two recipes of one seed,
    docs/recipes.csv).
    """
    if not n.cfg.augment.get("flip"):
        return None
    return Choice({"tta": "flips"}, "the mean over an image and its mirror images, as in training")


@rule("loss")
def loss(n: Needs) -> Choice | None:
    """The task's own loss, without weights of classes and without a sampler.

    Measured: at 1:50 neither raises the AUROC (docs/training.csv).
    """
    return Choice(
        {"loss": "auto", "sampler": "none", "objective.class_weights": None},
        "the task's own; weights of rare classes don't raise the AUROC",
    )


@rule("average")
def average(n: Needs) -> Choice | None:
    """An exponential moving average of the weights.

    Measured: out-of-fold AUROC of BreastMNIST 0.867 and 0.840 with it, 0.832 and 0.812 without (two
    seeds, docs/recipes.csv).
    """
    return Choice({"average": "ema"}, "steadier than the weights of one epoch")


@rule("optimizer")
def optimizer(n: Needs) -> Choice | None:
    """AdamW at 1e-3, one cycle.

    Measured: 3e-3 isn't better (BreastMNIST, out-of-fold, one seed, docs/recipes.csv).
    """
    return Choice(
        {"optimizer": "adamw", "optimizer.lr": 1e-3, "scheduler": "onecycle"},
        "from random weights; the rate rises and falls once within the passes",
    )


@rule("trainer.max_epochs")
def epochs(n: Needs) -> Choice | None:
    """As many passes as there is time for, up to a limit; part of one where there is less.

    Measured: against 30 passes −0.009 ± 0.008 (AUROC of three sets, one seed, 3 minutes,
    docs/plan_ablation.csv); the limit not yet.
    """
    passes = n.passes({}) * MARGIN
    if passes * n.train_images < LEAST_SEEN and passes < LEAST_PASSES:
        raise UserError(
            f"budget={duration(n.budget)}: in that time this machine trains on "
            f"{max(0, passes * n.train_images):.0f} images only, too few to learn from; take at "
            f"least {duration(n.seconds_for(LEAST_PASSES))}"
            + (", or smaller volumes (dataset.size)" if n.data.dims == 3 else "")
        )
    if passes < 1:
        return Choice(
            {"trainer.max_epochs": 1, "trainer.limit_train_batches": round(passes, 3)},
            f"there is time for {passes:.0%} of the images once",
        )
    most = int(min(MOST_PASSES, passes))
    each = " each" if n.folds > 1 else ""
    reason = f"so many passes{each} fill the time"
    if most == MOST_PASSES:
        reason = f"as many passes{each} as are of use, though there is time for {passes:.0f}"
    return Choice({"trainer.max_epochs": most}, reason)
