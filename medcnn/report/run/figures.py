"""The charts of a run's page, each with its numbers in words for those who can't see it."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from medcnn.report.runs import MONITORED, best_epoch
from medcnn.report.svg import Chart, Floats, Plot, floats, span
from medcnn.report.words import (
    Record,
    bounds_of,
    interval,
    number,
    percent,
    plural,
    show,
    with_interval,
    words_of,
)

UNIT = (0.0, 1.0)
MOST_POINTS = 1500  # of a scatter plot


def roc(name: str, curves: Record, figure: Record, point: Record) -> Chart:
    """Draw the ROC curve of a class, with its band and the operating point.

    Args:
        name: Of the class.
        curves: ``roc`` with fpr and sensitivity; ``band`` where there is one; ``folds`` of pooled
            folds, each with its own operating point on its own curve.
        figure: Its AUROC.
        point: Figures at the operating point; empty for none.
    """
    fpr, sensitivity = floats(curves["roc"]["fpr"]), floats(curves["roc"]["sensitivity"])
    plot = Plot(UNIT, UNIT, "1 − specificity", "sensitivity")
    legend = [("a", "ROC curve"), ("c", "chance")]
    if band := curves.get("band"):
        plot.band(band["fpr"], band["low"], band["high"])
        legend.append(("band", "95 % band"))
    plot.line(UNIT, UNIT, "c")
    plot.line(fpr, sensitivity, "a")
    value = f"AUROC {with_interval('auroc', figure)}" if figure else ""
    words = [f"ROC curve of {name}"] + ([value] if value else [])
    words += [f"sensitivity {s:.2f} at 1 − specificity {f:.2f}" for f, s in _at(fpr, sensitivity)]
    s, p = (point.get(key, {}).get("value") for key in ("sensitivity", "specificity"))
    if s is not None and p is not None:
        legend.append(_operating_point(plot, 1 - p, point["sensitivity"]))
        words.append(f"operating point at sensitivity {s:.3f}, specificity {p:.3f}")
    if folds := curves.get("folds"):
        for fold in folds:
            plot.line(fold["fpr"], fold["sensitivity"], "b thin")
            f, s = (fold["point"][key] for key in ("fpr", "sensitivity"))
            plot.dots(f, s)
            words.append(f"fold {fold['fold']} at sensitivity {s:.3f}, specificity {1 - f:.3f}")
        legend += [("b thin", "a fold"), ("dot", "its operating point")]
    return Chart(name, plot.svg("; ".join(words)), tuple(legend), value)


def precision_recall(
    name: str, curve: Record, figure: Record, prevalence: float | None, point: Record
) -> Chart:
    """Draw the precision–recall curve of a class, with prevalence and operating point."""
    recall, precision = floats(curve["recall"]), floats(curve["precision"])
    plot = Plot(UNIT, UNIT, "recall (sensitivity)", "precision (PPV)")
    legend = [("a", "precision–recall curve")]
    value = f"average precision {with_interval('average_precision', figure)}" if figure else ""
    if prevalence is not None:
        plot.line(UNIT, (prevalence, prevalence), "c")
        legend.append(("c", "prevalence"))
        value = "; ".join(filter(None, [value, f"prevalence {percent(prevalence)}"]))
    plot.line(recall, precision, "a")
    words = [f"Precision–recall curve of {name}"] + ([value] if value else [])
    order = np.argsort(recall, kind="stable")
    pairs = _at(recall[order], precision[order], (0.5, 0.8, 0.9))
    words += [f"precision {p:.2f} at recall {r:.2f}" for r, p in pairs]
    s, ppv = (point.get(key, {}).get("value") for key in ("sensitivity", "ppv"))
    if s is not None and ppv is not None:
        legend.append(_operating_point(plot, s, point["ppv"]))
        words.append(f"operating point at recall {s:.3f}, precision {ppv:.3f}")
    return Chart(name, plot.svg("; ".join(words)), tuple(legend), value[:1].upper() + value[1:])


def _operating_point(plot: Plot, x: float, figure: Record) -> tuple[str, str]:
    """Add a figure at the operating point, with its interval; return its style and meaning."""
    if bounds := bounds_of(figure):
        low, high = bounds
        plot.whiskers(x, low, high, "error")
    plot.dots(x, figure["value"])
    return "dot", "operating point"


def reliability(name: str, bins: Record, figure: Record) -> Chart:
    """Draw the observed share of a class by predicted probability, and the size of each bin."""
    score, share = floats(bins["score"]), floats(bins["share"])
    count = floats(bins["count"])
    plot = Plot(UNIT, UNIT, "predicted probability", "observed share")
    most = np.nanmax(count) if count.size else 1
    plot.bars(score, 0.25 * count / max(most, 1), width=0.035)
    plot.line(UNIT, UNIT, "c")
    plot.whiskers(score, bins["low"], bins["high"], "error-a")
    plot.line(score, share, "a thin")
    plot.dots(score, share, "point")
    legend = (
        ("point", "observed share, 95 % interval"),
        ("c", "perfect calibration"),
        ("bar", "number of cases"),
    )
    error = [f"calibration error (ECE) {with_interval('ece', figure)}"] if figure else []
    words = [f"Reliability of {name}", *error]
    words += [
        f"at {p:.2f} observed {s:.2f} of {n:.0f}"
        for p, s, n in zip(score, share, count, strict=True)
        if n > 0
    ]
    note = "; ".join([*error, *_brier(bins), f"the highest bar: {plural(int(most), 'case')}"])
    return Chart(name, plot.svg("; ".join(words)), legend, note[0].upper() + note[1:])


def _brier(bins: Record) -> list[str]:
    """Return the parts of the Brier score in words (A. H. Murphy, 1973), with the rest."""
    parts = bins.get("brier")
    if not parts or None in parts.values():
        return []
    off, resolution, prevalence = (
        parts[key] for key in ("reliability", "resolution", "uncertainty")
    )
    within = parts["within_variance"] - parts["within_covariance"]
    return [
        f"Brier score {number(off - resolution + prevalence + within)} = "
        f"{number(off)} (miscalibration) − {number(resolution)} (resolution) + "
        f"{number(prevalence)} (prevalence) {'−' if within < 0 else '+'} "
        f"{number(abs(within))} (within bins)"
    ]


def decision_curve(name: str, curve: Record) -> Chart:
    """Draw the net benefit of acting on the model's calls, on all, or on none."""
    threshold, model, every = (floats(curve[key]) for key in ("threshold", "model", "all"))
    none = floats(curve["none"])
    top = span(model, none, [float(np.nanmax(every))], margin=0.08)[1]
    plot = Plot(
        (0, span(threshold, margin=0)[1]), (-0.3 * top, top), "threshold probability", "net benefit"
    )
    plot.line(threshold, every, "b")
    plot.line(threshold, none, "c")
    plot.line(threshold, model, "a")
    legend = (("a", "act on the model"), ("b", "act on all"), ("c", "act on none"))
    words = [f"Decision curve of {name}"]
    for at in (0.1, 0.2, 0.3, 0.5):
        if threshold.min() <= at <= threshold.max():
            k = np.abs(threshold - at).argmin()
            words.append(f"net benefit at {at:g}: model {model[k]:.3f}, all {every[k]:.3f}")
    better = threshold[model > np.maximum(every, none) + 1e-12]
    note = f"The model does better than acting on all or on none at {len(better)} of the "
    note += f"{len(threshold)} thresholds"
    note += f", between {better.min():.2f} and {better.max():.2f}." if len(better) else "."
    return Chart(name, plot.svg("; ".join([*words, note])), legend, note)


def selective(values: Record, noun: str) -> Chart:
    """Draw the share of wrong decisions among those kept, by the share that is kept."""
    coverage, risk = floats(values["coverage"]), floats(values["risk"])
    plot = Plot(
        UNIT, (0, span([0], risk, margin=0.1)[1]), f"share of {noun} decided on", "share of errors"
    )
    plot.line(coverage, risk, "a")
    order = np.argsort(coverage, kind="stable")
    at = _at(coverage[order], risk[order], (0.5, 0.8, 1.0))
    plot.dots([x for x, _ in at], [y for _, y in at], "point")
    at_shares = [f"{percent(r)} errors with the surest {100 * c:.0f} %" for c, r in at]
    area = f"Area under the curve (AURC) {number(values.get('aurc'))}"
    label = "; ".join(["Selective prediction", area, *at_shares])
    note = f"{area}; {', '.join(at_shares)}." if at_shares else f"{area}."
    return Chart("", plot.svg(label), (("a", "the least sure left out first"),), note)


def learning(table: pd.DataFrame) -> list[Chart]:
    """Draw loss and the monitored figure over the epochs; a dotted line at the best epoch.

    Args:
        table: Indexed by epoch, columns as in metrics.csv.
    """
    losses = {"train/loss": ("b", "training"), "val/loss": ("a", "validation")}
    panels = {"loss": losses, **{title: {c: ("a", "validation")} for c, title in MONITORED.items()}}
    return [chart for panel in panels.items() if (chart := _epochs(table, *panel))]


def _epochs(table: pd.DataFrame, title: str, columns: dict[str, tuple[str, str]]) -> Chart | None:
    known = {c: table[c].dropna() for c in columns if c in table and table[c].notna().any()}
    if not known:
        return None
    ends, best = (table.index.min() - 0.5, table.index.max() + 0.5), best_epoch(table)
    plot = Plot(ends, span(*known.values()), "epoch", title, size=(420, 280))
    legend, words = [], [f"{title[0].upper()}{title[1:]} over {len(table)} epochs"]
    for column, values in known.items():
        style, name = columns[column]
        plot.line(values.index, values, style)
        if len(values) <= 40:
            plot.dots(values.index, values, f"point-{style}", radius=2.5)
        legend.append((style, name))
        first, last = number(float(values.iloc[0])), number(float(values.iloc[-1]))
        words.append(f"{name} from {first} to {last}")
        if best is not None and best in values.index:
            words.append(f"{name} {number(float(values[best]))} at the best epoch")
    if best is not None:
        plot.line((best, best), plot.y, "c")
        legend.append(("c", f"best epoch: {best}"))
        words.append(f"best epoch {best}")
    return Chart(title, plot.svg("; ".join(words)), tuple(legend))


def agreement(scatter: Record, figures: Record) -> list[Chart]:
    """Draw prediction against truth, and the plot of J. M. Bland and D. G. Altman (1986)."""
    truth, prediction = floats(scatter["truth"]), floats(scatter["prediction"])
    known = np.isfinite(truth + prediction)
    truth, prediction = truth[known], prediction[known]
    if not len(truth):
        return []
    shown = np.linspace(0, len(truth) - 1, min(len(truth), MOST_POINTS)).round().astype(int)
    ends = span(truth, prediction)
    plot = Plot(ends, ends, "true value", "predicted value")
    plot.line(ends, ends, "c")
    plot.dots(truth[shown], prediction[shown], "sample", radius=2.5)
    keys = [key for key in ("mae", "rmse", "r2") if key in figures]
    values = [f"{words_of(key).title} {show(key, figures[key]['value'])}" for key in keys]
    label = ", ".join([f"Predicted against true values of {len(truth)} cases", *values])
    some = f"{len(shown):,} of {len(truth):,} cases are shown" * (len(shown) < len(truth))
    legend = (("sample", "a case"), ("c", "perfect agreement"))
    note = " ".join(f"{text}." for text in (", ".join(values), some) if text)
    first = Chart("Prediction against truth", plot.svg(label), legend, note)
    return [first, _bland_altman(truth, prediction, shown, figures)]


def _bland_altman(truth: Floats, prediction: Floats, shown: Floats, figures: Record) -> Chart:
    difference, middle = prediction - truth, (prediction + truth) / 2
    spread = 1.96 * float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    own = {"bias": 0.0, "limit_low": -spread, "limit_high": spread}
    lines = {key: figures.get(key) or {"value": float(difference.mean()) + own[key]} for key in own}
    lines = {key: line for key, line in lines.items() if line["value"] is not None}
    every = [bound for line in lines.values() for bound in (line["value"], *bounds_of(line))]
    plot = Plot(
        span(middle), span(difference, every), "mean of prediction and truth", "prediction − truth"
    )
    for key, line in lines.items():
        if bounds := bounds_of(line):
            plot.band(plot.x, [bounds[0]] * 2, [bounds[1]] * 2)
        plot.line(plot.x, [line["value"]] * 2, "a" if key == "bias" else "b")
    plot.dots(middle[shown], difference[shown], "sample", radius=2.5)
    titles = {"bias": "bias", "limit_low": "lower limit", "limit_high": "upper limit"}
    values = ", ".join(
        f"{titles[key]} {number(line['value'])} {interval(key, line)}".strip()
        for key, line in lines.items()
    )
    label = f"Bland–Altman plot of {len(truth)} cases: {values}"
    legend = [("a", "bias"), ("b", "limits of agreement"), ("sample", "a case")]
    if any(map(bounds_of, lines.values())):
        legend.append(("band", "95 % intervals"))
    note = f"{values[0].upper()}{values[1:]}." if values else ""
    return Chart("Bland–Altman", plot.svg(label), tuple(legend), note)


def _at(
    x: Floats, y: Floats, places: Iterable[float] = (0.05, 0.1, 0.2)
) -> list[tuple[float, float]]:
    """Return the points of a curve at some places, x ascending; the last y at or before each."""
    known = np.isfinite(x + y)
    x, y = x[known], y[known]
    at = [(p, int(np.searchsorted(x, p + 1e-9, side="right")) - 1) for p in places]
    return [(p, float(y[k])) for p, k in at if k >= 0]
