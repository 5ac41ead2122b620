"""The figure of a comparison: every fusion's CCC over the share of corrupted steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from avgate.core.files import atomic_write
from avgate.features.corruption import CORRUPTIONS


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
