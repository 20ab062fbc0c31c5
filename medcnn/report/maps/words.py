"""Names, meanings and better directions of the scores of maps."""

import re

from medcnn.report.words import Words

ZHANG = "J. Zhang et al., Top-down neural attention by excitation backprop, 2018"
WANG = "H. Wang et al., Score-CAM, 2020"
CHOE = "J. Choe et al., Evaluating weakly supervised object localization methods right, 2020"
PETSIUK = "V. Petsiuk et al., RISE, 2018"
ROAD = (
    "Y. Rong et al., A consistent and efficient evaluation strategy for attribution methods, 2022"
)
CHATTOPADHAY = "A. Chattopadhay et al., Grad-CAM++, 2018"
ADEBAYO = "J. Adebayo et al., Sanity checks for saliency maps, 2018"
GHORBANI = "A. Ghorbani et al., Interpretation of neural networks is fragile, 2019"
BUNCH = "P. C. Bunch et al., A free-response approach to the measurement of lesion detection, 1978"
JAIN = "S. Jain, B. C. Wallace, Attention is not explanation, 2019"
SHRIKUMAR = "A. Shrikumar et al., Not just a black box, 2016"
CHESTX = "X. Wang et al., ChestX-ray8, 2017"

MAP, OVERLAP = "The map on the lesion", "Overlap of the thresholded map with the lesion"
BOXES, FROC = "Box around the map", "Lesions found, by false positives an image"
ACCURACY, PROBABILITY = "Right decisions", "Probability of the right class"
BOX = "share of images where a box around the map has at least this IoU with the lesion's box"
RECALL = "share of the lesions that peaks of the maps hit, at so many false positives an image"
RANDOM = "The map with random weights against the map of the net"
LABELS = "The map of a net that learned from random labels against the map of this net"
VARIANTS = {
    "": "image as it is",
    "_lesion_removed": "lesion removed",
    "_elsewhere_removed": "elsewhere removed",
    "_lesion_only": "lesion alone",
}
HOW = (
    "on the images as they are, with the lesion painted over, with as much of the body painted "
    "over elsewhere, and with all black but the lesion"
)

SCORES = {
    "pointing_game": Words(
        "pointing game", "share of images whose map has its maximum on the lesion", "higher",
        ZHANG, MAP,
    ),
    "energy_inside": Words(
        "energy inside", "share of a map's positive sum that lies on the lesion", "higher",
        WANG, MAP,
    ),
    "pixel_ap": Words(
        "pixel AP", "average precision of a map's values as a detector of the lesion's pixels",
        "higher", CHOE, MAP,
    ),
    "empty": Words("empty", "share of images whose map has no value above zero", "lower", "", MAP),
    "iou": Words("IoU", "intersection over union of map and lesion", "higher", "", OVERLAP),
    "dice": Words(
        "Dice", "twice the intersection over the sum of both areas", "higher", "", OVERLAP
    ),
    "iobb": Words(
        "IoBB", "intersection over the area that the map marks", "higher", CHESTX, OVERLAP
    ),
    **{
        f"box_iou_{k / 10}": Words(f"IoU ≥ {k / 10}", BOX, "higher", CHOE, BOXES)
        for k in range(1, 8)
    },
    **{
        f"recall_at_{rate}": Words(f"at {rate}", RECALL, "higher", BUNCH, FROC)
        for rate in ("0.25", "0.5", "1", "2", "4")
    },
    "deletion": Words(
        "deletion", "area under the probability as pixels are removed, the most important first",
        "lower", PETSIUK,
    ),
    "insertion": Words(
        "insertion", "area under the probability as pixels are added, the most important first",
        "higher", PETSIUK,
    ),
    "road": Words(
        "ROAD", "probability without the least important pixels less that without the most "
        "important ones, both imputed from their neighbours", "higher", ROAD,
    ),
    "average_drop": Words(
        "average drop", "share of the probability lost where the image is kept only as far as the "
        "map is high", "lower", CHATTOPADHAY,
    ),
    "increase": Words(
        "increase", "share of images whose probability grows where the image is kept only as far "
        "as the map is high", "higher", CHATTOPADHAY,
    ),
    **{
        f"accuracy{key}": Words(title, f"share of right decisions {HOW}", None, "", ACCURACY)
        for key, title in VARIANTS.items()
    },
    **{
        f"prob{key}": Words(
            title, f"mean probability of the right class {HOW}", None, "", PROBABILITY
        )
        for key, title in VARIANTS.items()
    },
    "reliance": Words(
        "reliance", "what is lost with the lesion less what is lost with as much elsewhere: above "
        "zero where the decision uses the lesion", "higher",
    ),
    "randomisation_rank": Words(
        "rank correlation", "likeness of the maps before and after the net's weights are drawn at "
        "random; a low one says that the map depends on what the net has learned", "lower",
        ADEBAYO, RANDOM,
    ),
    "randomisation_ssim": Words(
        "SSIM", "structural similarity of the maps before and after the net's weights are drawn at "
        "random", "lower", ADEBAYO, RANDOM,
    ),
    "label_randomisation_rank": Words(
        "rank correlation", "likeness of the maps of this net and of one that learned from labels "
        "in random order; a low one says that the map depends on the labels", "lower",
        ADEBAYO, LABELS,
    ),
    "label_randomisation_ssim": Words(
        "SSIM", "structural similarity of the maps of this net and of one that learned from labels "
        "in random order", "lower", ADEBAYO, LABELS,
    ),
    "noise_stability": Words(
        "noise stability", "rank correlation of a map with those of the same image under noise "
        "that is hardly visible", "higher", GHORBANI,
    ),
    "seed_agreement": Words(
        "seed agreement", "rank correlation of the maps of nets that differ by their training seed "
        "alone", "higher",
    ),
    "marker_energy": Words(
        "marker energy", "share of a map's positive sum that lies on the marker, which is no "
        "lesion: high where the net takes the shortcut", None,
    ),
    "image_pointing_game": Words(
        "pointing game", "share of studies whose most important image shows the lesion", "higher",
        ZHANG,
    ),
    "lesion_images": Words(
        "images with the lesion", "share of a study's images that show the lesion: how often an "
        "image at random would hit", None,
    ),
    "image_agreement": Words(
        "agreement", "rank correlation of how important the images of a study are said to be with "
        "how far the score of the decided class falls without each; of attention, which doesn't "
        "say for which class an image speaks, with how far it changes", "higher", JAIN,
    ),
    "image_deletion": Words(
        "deletion", "area under the probability as images are removed in a random order, less "
        "that with the most important first; 0 is chance", "higher", PETSIUK,
    ),
    "view_effect": Words(
        "effect of leaving out", "fall of the decided class's score (a logit) without this view, "
        "in studies that have it", None,
    ),
    "view_attention": Words(
        "attention", "weight of this view in its study; what the net looks at, not what the "
        "decision rests on", None,
    ),
    "removal_effect": Words(
        "effect of removing", "fall of the decided class's score (a logit) where the channel is "
        "at its mean in training", None,
    ),
    "gradient_share": Words(
        "gradient × input", "share of the channel in the absolute products of the score's gradient "
        "and the image", None, SHRIKUMAR,
    ),
    "marker_area": Words(
        "marker area", "share of the image that the marker covers: what a map without preference "
        "would put there", None,
    ),
}  # fmt: skip

STEP = re.compile(r"(cascading|independent)_\d+_(.+)_(rank|ssim)")
ORDERS = {
    "cascading": "weights drawn at random from the head down to this part",
    "independent": "weights of this part alone drawn at random",
}
ROWS = {
    "random": "noise",
    "centre": "a blob in the middle of the image",
    "edges": "the edges of the image",
    "intensity": "the image itself",
    "middle": "the image in the middle of its study",
    "oracle": "the lesion at the map's own resolution: the most that can be reached",
}
GROUPS = {
    "localisation": ("Localisation", "Does the map of the true class lie on the lesion?"),
    "reliance": ("Reliance", "Does the decision use the lesion?"),
    "faithfulness": ("Faithfulness", "Does the decision depend on what the map shows?"),
    "sanity": ("Sanity", "Does the map depend on what the net has learned?"),
    "stability": ("Stability", "Does the map stay where nothing of importance changes?"),
    "shortcut": ("Shortcut", "Does the map lie on a mark that is no lesion?"),
    "image_localisation": (
        "Which image?", "Does the most important image for the true class show the lesion?",
    ),
    "image_faithfulness": (
        "Faithfulness", "Does the decision depend on the images that are said to be important?",
    ),
    "image_sanity": (
        "Sanity", "Does the importance of images depend on what the net has learned?",
    ),
    "views": ("Views", "Which view does the decision rest on?"),
    "channels": ("Channels", "Which channel does the decision rest on?"),
}  # fmt: skip


def words_of(score: str) -> Words:
    """Return the words for a score, plain ones for an unknown one.

    >>> words_of("iou").better, words_of("independent_2_layer3_ssim").title
    ('higher', 'layer3')
    >>> words_of("some_new_score").title
    'some new score'
    """
    if score in SCORES:
        return SCORES[score]
    if step := STEP.fullmatch(score):
        order, part, kind = step.groups()
        like = SCORES[f"randomisation_{kind}"]
        what = f"{like.title} of the maps before and after, {ORDERS[order]}"
        return Words(part, what, "lower", ADEBAYO, f"{like.title}, {ORDERS[order]}")
    return Words(score.replace("_", " "), "", None)
