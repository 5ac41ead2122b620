"""Make docs/complementarity.md: how far people's judgements of voice, face and both differ, from CREMA-D's votes.

Run by `make complementarity`; needs the corpus' tables, and none of its media.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avgate.compare.tables import markdown_table
from avgate.core.files import atomic_write
from avgate.core.metrics import bootstrap_groups, ccc
from avgate.corpora.cremad import ACTED, LEVELS, CremaD, Presentation, Votes
from avgate.labels.categories import SOURCE

DOCS = Path(__file__).resolve().parents[1] / "docs"
CREMAD = DOCS.parents[1] / "shared" / "data" / "cremad"
SENSES: tuple[Presentation, ...] = ("voice", "face", "both")
LEVEL_NAMES = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified"}


@dataclass(frozen=True)
class Judged:
    """All n clips as they were judged.

    Attributes:
        actors: n names.
        emotions: n emotions that were acted.
        levels: n levels at which they were acted, see LEVELS.
        winners: voice, face, both, or mean (the votes of voice and face put together) -> winning vote, str [n].
        places: the same -> valence and arousal, float64 [n 2].
    """

    actors: list[str]
    emotions: np.ndarray
    levels: np.ndarray
    winners: dict[str, np.ndarray]
    places: dict[str, np.ndarray]

    def same(self, one: str, other: str) -> np.ndarray:
        """Whether the winning votes are the same, bool [n]; of several winners, all must be."""
        return self.winners[one] == self.winners[other]

    @property
    def nearer(self) -> np.ndarray:
        """How much nearer to both the face's place is than the voice's, float64 [n]."""
        far = {s: np.linalg.norm(self.places[s] - self.places["both"], axis=1) for s in ("voice", "face")}
        return far["voice"] - far["face"]


def judged(corpus: CremaD) -> Judged:
    """All clips of the corpus, whether or not their media are there."""
    names = [name.split("_") for name in corpus.votes]
    votes: dict[str, list[Votes]] = {s: [of[s] for of in corpus.votes.values()] for s in SENSES}
    votes["mean"] = [joined(v, f) for v, f in zip(votes["voice"], votes["face"], strict=True)]
    return Judged(
        actors=[parts[0] for parts in names],
        emotions=np.array([ACTED[parts[2]] for parts in names]),
        levels=np.array([parts[3] for parts in names]),
        winners={s: np.array([v.winner for v in found]) for s, found in votes.items()},
        places={s: np.array([v.place for v in found]) for s, found in votes.items()},
    )


def joined(voice: Votes, face: Votes) -> Votes:
    """The votes for voice and face as one, each with the same weight: what adding both senses up gives."""
    shares = voice.counts / voice.counts.sum(), face.counts / face.counts.sum()
    total = sum(shares)
    weighted = shares[0] * voice.levels + shares[1] * face.levels
    return Votes(total, np.divide(weighted, total, out=np.zeros(len(total)), where=total > 0))


def page(corpus: CremaD) -> str:
    """The whole page."""
    clips = judged(corpus)
    raters = np.mean([votes.counts.sum() for of in corpus.votes.values() for votes in of.values()])
    return "\n".join(
        [
            "# How complementary voice and face are, to people",
            "",
            "Made by `python tools/complementarity.py` (`make complementarity`) from CREMA-D's votes alone: "
            f"{len(clips.actors)} clips of {len(set(clips.actors))} actors. Each was judged from the voice alone, from "
            f"the face alone, and from both, by {raters:.1f} people on average. In brackets: 95 % intervals, by "
            "drawing actors.",
            "",
            "If voice and face always said the same, there would be nothing to fuse. If one of them was always right, "
            "fusing would need no gates. Neither is so:",
            "",
            markdown_table(
                "Winning votes that differ, in percent of clips. Where several emotions have equally many votes, all "
                "of them must be the same.",
                "",
                ["clips", "voice and face differ", "voice and both differ", "face and both differ", "both is neither"],
                disagreements(clips),
            ),
            f"Part of this is chance among few raters: if people heard and saw the same in all presentations, "
            f"{by_chance(corpus):.0f} % of the winning votes of voice and face would still differ (votes drawn from "
            "those for both).",
            "",
            markdown_table(
                "What one sense would score if people's judgement from both was the truth: the share of clips with the "
                "same winning vote, and the CCC of the votes' places. `mean of both` adds the votes up with equal "
                "weights. `better sense` takes per clip the sense whose place is nearer to the judgement from both; "
                "its winning vote is right where either sense's is. It knows the answer, so it bounds what choosing a "
                "sense per clip can reach, and is no method.",
                "",
                ["same winning vote", "valence CCC", "arousal CCC"],
                scores(clips),
            ),
            said(clips),
            "",
            f"An emotion's place in the plane is a convention: {SOURCE}. A clip's place is the mean over raters, at "
            "the level that each gave.",
            "",
        ]
    )


def by_chance(corpus: CremaD, draws: int = 20, seed: int = 0) -> float:
    """Percent of clips in which two winning votes differ although both are drawn from the votes for both senses."""
    random = np.random.default_rng(seed)
    differ = []
    for votes in corpus.votes.values():
        share = votes["both"].counts / votes["both"].counts.sum()
        voice, face = (random.multinomial(int(votes[s].counts.sum()), share, draws) for s in ("voice", "face"))
        winners = [drawn == drawn.max(1, keepdims=True) for drawn in (voice, face)]
        differ.append((winners[0] != winners[1]).any(1).mean())
    return 100 * float(np.mean(differ))


def disagreements(clips: Judged) -> dict[str, list[str]]:
    """Row -> cells: all clips, by emotion that was acted, and by level."""
    neither = ~clips.same("voice", "both") & ~clips.same("face", "both")
    columns = [~clips.same("voice", "face"), ~clips.same("voice", "both"), ~clips.same("face", "both"), neither]
    table = np.stack(columns, axis=1)
    parts = {"all": np.ones(len(table), bool)}
    parts |= {emotion: clips.emotions == emotion for emotion in sorted(ACTED.values())}
    parts |= {f"{LEVEL_NAMES[level]} level": clips.levels == level for level in LEVELS}
    return {
        name: [
            str(part.sum()),
            *with_intervals(lambda rows, of=table[part]: of[rows].mean(0), actors_in(clips, part), 100),
        ]
        for name, part in parts.items()
        if part.any()
    }


def actors_in(clips: Judged, part: np.ndarray) -> list[str]:
    """The actors of these clips."""
    return [actor for actor, here in zip(clips.actors, part, strict=True) if here]


def scores(clips: Judged) -> dict[str, list[str]]:
    """Row -> cells: one sense, both added up, and the better sense per clip, against the judgement from both."""
    rows = {"voice alone": "voice", "face alone": "face", "mean of both": "mean", "better sense": "better"}
    return {
        title: with_intervals(lambda r, who=who: against_both(clips, who, r), clips.actors, 1, 3)
        for title, who in rows.items()
    }


def against_both(clips: Judged, who: str, rows: np.ndarray) -> np.ndarray:
    """Share of the same winning votes, and CCC of valence and arousal, against the judgement from both: float64 [3]."""
    if who == "better":
        same = clips.same("voice", "both") | clips.same("face", "both")
        places = np.where((clips.nearer > 0)[:, None], clips.places["face"], clips.places["voice"])
    else:
        same, places = clips.same(who, "both"), clips.places[who]
    truth = clips.places["both"]
    return np.array([same[rows].mean(), *(ccc(places[rows, k], truth[rows, k]) for k in range(2))])


def said(clips: Judged) -> str:
    """What the tables come to, in words."""
    voice, face = clips.same("voice", "both"), clips.same("face", "both")
    shares = [100 * float(x.mean()) for x in (clips.nearer > 0, clips.nearer < 0, voice & ~face, face & ~voice)]

    def gains(rows: np.ndarray) -> np.ndarray:
        better, alone, mean = (against_both(clips, who, rows)[1:] for who in ("better", "face", "mean"))
        return np.concatenate([better - alone, mean - alone])

    cells = with_intervals(gains, clips.actors, 1, 3)
    return (
        f"The face is the nearer sense in {shares[0]:.0f} % of the clips and the voice in {shares[1]:.0f} %. In "
        f"{shares[2]:.0f} % only the voice has the winning vote of both, in {shares[3]:.0f} % only the face. Against "
        f"the face alone, the better sense per clip would change the CCC by {cells[0]} in valence and {cells[1]} in "
        f"arousal, and adding both up with equal weights by {cells[2]} and {cells[3]}. What lies between the two is "
        "what gates are for."
    )


def with_intervals(
    statistic: Callable[[np.ndarray], np.ndarray], actors: Sequence[str], scale: float, digits: int = 0
) -> list[str]:
    """Cells with statistics times a factor and their intervals."""
    found = statistic(np.arange(len(actors)))
    bounds = bootstrap_groups(statistic, actors)
    return [
        f"{scale * x:.{digits}f} [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"
        for x, low, high in zip(found, *bounds, strict=True)
    ]


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cremad", type=Path, default=CREMAD, help="a clone of CREMA-D's repository, even without LFS")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for complementarity.md")
    given = parser.parse_args()
    with atomic_write(given.out / "complementarity.md") as temporary:
        temporary.write_text(page(CremaD(given.cremad)))


if __name__ == "__main__":
    main()
