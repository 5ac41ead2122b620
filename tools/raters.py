"""Make docs/raters.md: what merging raters is worth, on Hazumi's five. Run by `make docs`; needs the corpus."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np

from avgate.compare.markdown import markdown_table
from avgate.core.files import atomic_write
from avgate.core.metrics import ccc
from avgate.corpora.hazumi import Hazumi
from avgate.labels.agreement import cronbach_alpha
from avgate.labels.merge import ewe, mean

DOCS = Path(__file__).resolve().parents[1] / "docs"
HAZUMI = DOCS.parents[1] / "shared" / "data" / "hazumi"


def page(corpus: Hazumi) -> str:
    """The whole page."""
    rows = {}
    for k, target in enumerate(corpus.targets):
        sessions = [corpus.session(clip).ratings[:, k].T for clip in corpus.clips()]  # [raters n]
        sessions = [ratings[:, ~np.isnan(ratings).any(0)] for ratings in sessions]
        whole = np.concatenate(sessions, 1)
        numbers = [
            np.mean([ccc(whole[a], whole[b]) for a, b in combinations(range(len(whole)), 2)]),
            with_the_one_left_out(sessions, mean),
            with_the_one_left_out(sessions, ewe),
            cronbach_alpha(whole),
        ]
        rows[target] = [f"{x:.3f}" for x in numbers]
    better = "better" if all(float(cells[2]) > float(cells[0]) for cells in rows.values()) else "**no better**"
    return "\n".join(
        [
            "# What merging raters is worth",
            "",
            "Made by `python tools/raters.py` (`make docs`) from Hazumi's ratings: "
            f"{len(corpus.clips())} sessions, five raters each, who rated every exchange from 1 to 7.",
            "",
            markdown_table(
                "Agreement (CCC over all exchanges) with a rater who has no part in it: of one other rater, mean over "
                "all pairs; of the mean of the four others; of their EWE, weighted session by session. Cronbach's "
                "alpha is that of all five.",
                "target",
                ["one rater", "mean of four", "EWE of four", "Cronbach's alpha"],
                rows,
            ),
            f"A further rater agrees {better} with a merged label than with another rater.",
            "",
        ]
    )


def with_the_one_left_out(sessions: list[np.ndarray], merge: Callable[[np.ndarray], np.ndarray]) -> float:
    """CCC of each rater with what is made of the others, mean over raters."""
    found = []
    for rater in range(len(sessions[0])):
        others = np.concatenate([merge(np.delete(ratings, rater, 0)) for ratings in sessions])
        found.append(ccc(others, np.concatenate([ratings[rater] for ratings in sessions])))
    return float(np.mean(found))


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hazumi", type=Path, default=HAZUMI, help="folder that holds clones of Hazumi's repositories")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for raters.md")
    given = parser.parse_args()
    with atomic_write(given.out / "raters.md") as temporary:
        temporary.write_text(page(Hazumi(given.hazumi)))


if __name__ == "__main__":
    main()
