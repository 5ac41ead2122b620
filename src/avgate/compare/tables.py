"""What a comparison came to: the tables and curves made of its trainings' outcomes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avgate.compare.outcome import Outcome
from avgate.compare.statistics import holm, paired_bootstrap
from avgate.compare.stress import HALF, SHARES, Condition, area
from avgate.core.files import atomic_write
from avgate.core.metrics import ccc_of
from avgate.features.corruption import CORRUPTIONS
from avgate.report.writers.base import plain

LOST = ("absent", "noise")
"""The kinds of corruption by which a modality is lost, but says nothing that could be taken for true."""


def compare(held: Mapping[str, Sequence[Outcome]], reference: str) -> dict[str, Any]:
    """Scores of every variant, and its difference from the reference, as JSON can hold them.

    Args:
        held: variant -> its outcome on all folds, once per seed.
        reference: the variant that the others are compared with.
    """
    targets = held[reference][0].targets
    rows: dict[str, Any] = {}
    for name, outcomes in held.items():
        scores = np.stack([ccc_of(o.clean.sum(0)) for o in outcomes])
        rows[name] = {
            "ccc": {t: scores[:, k] for k, t in enumerate(targets)},
            "validation": [o.validation for o in outcomes],
            "seconds": sum(o.seconds for o in outcomes),
            "against": {},
        }
    others = [name for name in held if name != reference]
    for k, target in enumerate(targets):
        cleans = {name: np.stack([o.clean[:, k] for o in outcomes]) for name, outcomes in held.items()}
        found = [paired_bootstrap(cleans[name], cleans[reference]) for name in others]
        for name, difference, p in zip(others, found, holm([d.p for d in found]), strict=True):
            rows[name]["against"][target] = vars(difference) | {"p_holm": p}
    results = {
        "reference": reference,
        "targets": targets,
        "clips": len(held[reference][0].clips),
        "fusions": rows,
    }
    modalities = list(dict.fromkeys(name.split()[0] for o in held.values() for name in o[0].stressed))
    if modalities:
        results |= {"shares": (0.0, *SHARES), "corrupted": modalities}
        for name, outcomes in held.items():
            rows[name] |= _stress(outcomes, modalities, targets)
            rows[name]["against_alone"] = _against_alone(name, held, modalities, targets)
    return plain(results)


def _stress(outcomes: Sequence[Outcome], modalities: Sequence[str], targets: Sequence[str]) -> dict[str, Any]:
    """Per "MODALITY KIND" and target: curve [seeds shares], area [seeds], drop [seeds]; and the gates' AUROC."""
    found: dict[str, Any] = {}
    half = 1 + SHARES.index(HALF)
    for modality in modalities:
        for kind in CORRUPTIONS:
            curves = np.stack([o.curve(modality, kind) for o in outcomes])  # [seeds shares k]
            areas = np.stack([area(c) for c in curves])
            found[f"{modality} {kind}"] = {
                t: {
                    "curve": curves[:, :, k],
                    "area": areas[:, k],
                    "drop": curves[:, 0, k] - curves[:, half, k],
                }
                for k, t in enumerate(targets)
            }
    auroc = {
        what: {gate: [o.auroc[what][gate] for o in outcomes] for gate in gates}
        for what, gates in outcomes[0].auroc.items()
    }
    return {"stress": found, "auroc": auroc}


def _against_alone(
    name: str, held: Mapping[str, Sequence[Outcome]], modalities: Sequence[str], targets: Sequence[str]
) -> dict[str, Any]:
    """Per "MODALITY KIND" of LOST and target: the difference, when that modality is lost, from the other one alone."""
    found: dict[str, Any] = {}
    for lost in modalities:
        others = [m for m in modalities if m != lost]
        if name in modalities or len(others) != 1 or others[0] not in held:
            continue
        for kind in LOST:
            condition = Condition(lost, kind, 1.0).name
            mine = np.stack([o.stressed.get(condition, o.clean) for o in held[name]])
            alone = np.stack([o.clean for o in held[others[0]]])
            found[f"{lost} {kind}"] = {
                t: vars(paired_bootstrap(mine[:, :, k], alone[:, :, k])) for k, t in enumerate(targets)
            }
    return found


def write_results(results: Mapping[str, Any], out: Path) -> None:
    """Write results.json, results.md, and curves.png where models were stressed."""
    with atomic_write(out / "results.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1, allow_nan=False))
    with atomic_write(out / "results.md") as temporary:
        temporary.write_text(markdown(results))
    if "corrupted" in results:
        draw_curves(results, out / "curves.png")


def markdown(results: Mapping[str, Any]) -> str:
    """All tables."""
    parts = [scores_table(results)]
    for modality in results.get("corrupted", ()):
        parts += stress_tables(results, modality)
    if "corrupted" in results:
        parts += [alone_table(results), gates_table(results)]
    return "\n".join(filter(None, parts))


def scores_table(results: Mapping[str, Any]) -> str:
    """CCC per target, mean and deviation over seeds, and the difference from the reference."""
    targets, reference = results["targets"], results["reference"]
    protocol = f"{results['folds']}-fold cross-validation by person" if results["folds"] else "the corpus' own splits"
    head = (
        f"{results['corpus']}, {protocol}, {results['clips']} clips, seeds {', '.join(map(str, results['seeds']))}: "
        "CCC pooled over all held-out steps, mean and standard deviation over seeds; difference from "
        f"{reference} with its 95 % interval (paired bootstrap over clips, which knows nothing of other seeds) and "
        "Holm-corrected p; "
        "processor time of all trainings, with what was measured on them."
    )
    columns = [column for t in targets for column in (t, f"{t}, less {reference}", "p")] + ["minutes"]
    rows = {}
    for name, row in results["fusions"].items():
        cells = []
        for t in targets:
            difference = row["against"].get(t)
            spread = f" ± {np.std(row['ccc'][t]):.3f}" if len(row["ccc"][t]) > 1 else ""
            cells.append(f"{np.mean(row['ccc'][t]):.3f}{spread}")
            cells += (
                [
                    difference_text(difference),
                    f"{difference['p_holm']:.3f}",
                ]
                if difference
                else ["", ""]
            )
        rows[name] = [*cells, f"{row['seconds'] / 60:.1f}" if row["seconds"] is not None else "unknown"]
    return table(head, "fusion", columns, rows)


def stress_tables(results: Mapping[str, Any], modality: str) -> list[str]:
    """What is left of the CCC when a modality is corrupted: areas under the curves, half of the steps, all of them."""
    targets, shares = results["targets"], results["shares"]
    half = shares.index(HALF)
    wanted: dict[str, Callable[[Mapping[str, Any]], float]] = {
        f"**{modality} corrupted, area** under the curve of CCC over the corrupted share": lambda s: np.mean(s["area"]),
        f"**{modality} corrupted in half of the steps**, CCC; less than clean by that much": lambda s: np.mean(
            np.array(s["curve"])[:, half]
        ),
        f"**{modality} corrupted in all steps**, CCC": lambda s: np.mean(np.array(s["curve"])[:, -1]),
    }
    tables = []
    for i, (head, number) in enumerate(wanted.items()):
        rows = {}
        for name, row in results["fusions"].items():
            by_kind = [[number(row["stress"][f"{modality} {kind}"][t]) for t in targets] for kind in CORRUPTIONS]
            drops = [[np.mean(row["stress"][f"{modality} {kind}"][t]["drop"]) for t in targets] for kind in CORRUPTIONS]
            cells = [" / ".join(f"{x:.3f}" for x in values) for values in [*by_kind, np.mean(by_kind, 0)]]
            if i == 1:
                below = [" / ".join(f"{x:.3f}" for x in values) for values in [*drops, np.mean(drops, 0)]]
                cells = [f"{cell} ({drop})" for cell, drop in zip(cells, below, strict=True)]
            rows[name] = cells
        tables.append(table(f"{head}: {' / '.join(targets)}.", "fusion", [*CORRUPTIONS, "mean"], rows))
    return tables


def alone_table(results: Mapping[str, Any]) -> str:
    """What a lost modality costs, against a model that never had it; empty where there is no such model."""
    targets = results["targets"]
    against = {name: row["against_alone"] for name, row in results["fusions"].items() if row["against_alone"]}
    columns = list(dict.fromkeys(what for found in against.values() for what in found))
    if not columns:
        return ""
    head = (
        f"**A modality lost in all steps**, CCC less that of a model of the other one alone, clean: "
        f"{' / '.join(targets)}, with 95 % intervals (paired bootstrap over clips)."
    )
    rows = {
        name: [
            " / ".join(difference_text(found[what][t]) for t in targets) if what in found else "" for what in columns
        ]
        for name, found in against.items()
    }
    return table(head, "model", columns, rows)


def difference_text(difference: Mapping[str, Any]) -> str:
    """A difference with its interval."""
    return f"{difference['effect']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}]"


def gates_table(results: Mapping[str, Any]) -> str:
    """How well each gate tells corrupted steps from others."""
    columns = [f"{modality} {kind}" for modality in results["corrupted"] for kind in CORRUPTIONS]
    rows: dict[str, list[str]] = {}
    for name, row in results["fusions"].items():
        gates = dict.fromkeys(gate for areas in row["auroc"].values() for gate in areas)
        for gate in gates:
            # None, as which NaN travels, becomes NaN again.
            areas = [np.array(row["auroc"][what][gate], float) for what in columns]
            rows[f"{name}: {gate}"] = [f"{a.mean():.2f}" for a in areas]
    head = (
        "**Does the gate see it?** AUROC of each gate against the steps that were corrupted (half of all): 1 is "
        "always, 0.5 is chance. Whether a gate opens or closes there is read off on validation clips."
    )
    return table(head, "gate", columns, rows) if rows else ""


def table(head: str, first: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """A sentence and a Markdown table below it."""
    lines = [head, "", f"| {first} | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
    return "\n".join([*lines, ""])


def draw_curves(results: Mapping[str, Any], path: Path) -> None:
    """One panel per modality and kind of corruption, one line per fusion: CCC, mean of the targets, over the share."""
    from matplotlib.figure import Figure

    modalities, kinds, shares = results["corrupted"], list(CORRUPTIONS), results["shares"]
    figure = Figure(figsize=(2.9 * len(kinds), 2.9 * len(modalities)), layout="constrained")
    axes = figure.subplots(len(modalities), len(kinds), sharex=True, sharey=True, squeeze=False)
    for i, modality in enumerate(modalities):
        for j, kind in enumerate(kinds):
            for n, (name, row) in enumerate(results["fusions"].items()):
                by_target = row["stress"][f"{modality} {kind}"].values()
                line = np.mean([np.array(s["curve"], float) for s in by_target], axis=(0, 1))
                mine = name == results["reference"]
                style = ("-", "--", ":")[n // 10 % 3]
                axes[i, j].plot(
                    shares,
                    line,
                    style,
                    color=f"C{n % 10}",
                    label=name,
                    lw=2.4 if mine else 1.1,
                    zorder=3 if mine else 2,
                )
            axes[i, j].set_title(f"{modality} {kind}", fontsize=10)
            axes[i, j].grid(alpha=0.3)
        axes[i, 0].set_ylabel("CCC")
    for axis in axes[-1]:
        axis.set_xlabel("corrupted share")
        axis.set_xticks(shares)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=9)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)
