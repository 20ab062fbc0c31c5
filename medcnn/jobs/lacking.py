"""Things that there are not yet, in the field's words, and the nearest that there is."""

import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches

# fmt: off
ROWS: tuple[tuple[str, str, str], ...] = (  # words; what it is; the nearest that there is
    ("ldam supcon", "such loss",
     "loss= is cross_entropy, focal, asymmetric, logit_adjusted or another of conf/loss"),
    ("mosaic", "putting together of four training images",
     "regularise=mixup blends two, regularise=cutmix puts a box of one into the other"),
    ("randaugment autoaugment trivialaugment augmix", "random choice among augmentations",
     "augment=light, standard and strong are fixed ones"),
    ("cutout randomerasing", "such choice", "augment.erase=0.5 erases a box of every second image"),
    ("submitit submititslurm dask kubernetes", "way to start jobs on other machines",
     "engine=slurm and engine=ray run the jobs of a sweep and the workers of a search"),
    ("fsdp deepspeed horovod", "splitting of a network over devices",
     "trainer=ddp gives each device its share of every batch"),
    ("tpu hpu xla mps rocm", "support of this hardware",
     "trainer.accelerator is cpu or gpu (CUDA)"),
    ("optuna ax nevergrad bohb tune", "such search for hyperparameters",
     "python -m medcnn.search has random, coarse_to_fine, tpe and cma_es"),
    ("onnx torchscript tensorrt openvino coreml tflite export", "export of networks",
     "medcnn.load(checkpoint) gives a torch.nn.Module"),
    ("serve server triton gradio fastapi", "server of predictions",
     "python -m medcnn.predict classifies files, medcnn.load tensors"),
    ("simclr moco byol mae dino pretrain", "self-supervised pretraining",
     "model.pretrained=true and model.weights=FILE start from weights"),
    ("segmentation unet nnunet detection yolo survival", "such task",
     "it classifies images, grades them, or estimates numbers"),
    ("mil abmil clam", "multiple-instance learning of this name",
     "model.aggregate=attention puts a study's images together"),
    ("shap lime rise lrp deeplift rollout", "such method of maps",
     "methods=all takes every method that the network has"),
    ("webdataset tfrecord zarr hdf5 dicomweb pacs", "reader of such stores",
     "dataset=csv and dataset=folder read files"),
    ("lamb lars adafactor", "such optimiser",
     "optimizer= is adamw, adam, sgd, rmsprop, lion, sam or schedule_free"),
    ("clearml aim", "logger for it", "logger= is tensorboard, csv, mlflow or wandb"),
    ("conformal", "conformal prediction",
     "the page tells the accuracy on the images that it is surest of"),
    ("federated", "federated learning",
     "python -m medcnn.evaluate tests a checkpoint at another place"),
)
# fmt: on
OF_TIMM = {  # families that timm has, and a model of each
    "convnext": "convnext_tiny",
    "deit": "deit_small_patch16_224",
    "efficientnet": "efficientnet_b0",
    "inception": "inception_v3",
    "mobilenet": "mobilenetv3_small_100",
    "regnet": "regnety_002",
    "resnext": "resnext50_32x4d",
    "seresnet": "seresnet50",
    "swin": "swin_tiny_patch4_window7_224",
    "vit": "vit_small_patch16_224",
}
OF_LIGHTNING = {  # loggers that it has
    "comet": "CometLogger",
    "neptune": "NeptuneLogger",
}
LACKING: dict[str, tuple[str, str]] = {
    **{word: (what, nearest) for words, what, nearest in ROWS for word in words.split()},
    **{
        family: ("such family of its own", f"model=timm model.name={name} is timm's")
        for family, name in OF_TIMM.items()
    },
    **{
        word: (
            "logger for it",
            f"your own config may name pytorch_lightning.loggers.{name}, with trust= beside it",
        )
        for word, name in OF_LIGHTNING.items()
    },
}
COMMON = (  # words that may be anything as the value of a key that there is not
    *("aim", "detection", "export", "lime", "mosaic", "rise"),
    *("segmentation", "serve", "server", "survival", "tune"),
)


def lacking(word: object, *values: object) -> str | None:
    """Return a sentence about what medcnn doesn't have yet, if a word asks for it; else None.

    Args:
        word: A command, the choice of a group, or a key, whose last part counts.
        values: Of a key that there is not, where common words ask for nothing.

    >>> lacking("Data-Set/SimCLR")[:57]
    'there is no self-supervised pretraining yet (simclr); mod'
    >>> lacking("export_folder") is None
    True
    """
    names = [re.split("[./]", str(word))[-1], *map(str, values)]
    for n, name in enumerate(map(str.lower, names)):
        family = re.split("[^a-z]", name)[0]  # of vit_b_16
        found = family if family in OF_TIMM else re.sub("[^a-z0-9]", "", name)
        if found in LACKING and (n == 0 or found not in COMMON):
            what, instead = LACKING[found]
            return f"there is no {what} yet ({found}); {instead}"
    return None


def nearest(word: str, options: Sequence[str]) -> str:
    """Return the end of a message about a word that there is not: what may have been meant.

    >>> nearest("vggg", ["vgg", "resnet"]), nearest("x", ["vgg", "resnet"])
    (' (did you mean vgg?)', '; there are vgg, resnet')
    >>> nearest("resnett", ["resnet", "lenet"]), nearest("xxnet", ["resnet", "lenet"])
    (' (did you mean resnet?)', ' (did you mean lenet or resnet?)')
    """
    near = get_close_matches(word, options, n=3, cutoff=0.8)
    near = near or get_close_matches(word, options, n=3, cutoff=0.5)
    listed = f"; there are {', '.join(options)}" if 0 < len(options) <= 30 else ""
    return f" (did you mean {' or '.join(near)}?)" if near else listed


def refuse_command(argv: Sequence[str]) -> None:
    """End the program if `sys.orig_argv` names a command that there is not yet."""
    module = argv[argv.index("-m") + 1] if "-m" in argv[:-1] else ""
    sentence = lacking(module.removeprefix("medcnn.")) if module.startswith("medcnn.") else None
    if sentence is not None:
        print(f"medcnn: {sentence}", file=sys.stderr, flush=True)
        sys.exit(2)
