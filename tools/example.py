"""Make docs/example.md: the default weights on a real speech. Run by `make docs`; needs the clip."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from avgate import Predictor, Trace
from avgate.report.figure import write_figure

DOCS = Path(__file__).resolve().parents[1] / "docs"
CLIP = DOCS.parents[1] / "shared" / "clips" / "obama_speech.mp4"


def main() -> None:
    """Predict the clip, draw its curves, and write what they do and don't mean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, default=CLIP)
    given = parser.parse_args()
    trace = Predictor()(given.clip)
    write_figure(trace, DOCS / "example.png")
    (DOCS / "example.md").write_text(text(trace))


def text(trace: Trace) -> str:
    """The page, with every number taken from the trace."""
    rows = "\n".join(
        f"| {name} | {np.nanmean(values):+.2f} | {np.nanmin(values):+.2f} | {np.nanmax(values):+.2f} | "
        f"{np.nanmean(trace.low[name]):+.2f} to {np.nanmean(trace.high[name]):+.2f} |"
        for name, values in trace.targets.items()
    )
    present = "\n".join(f"| {name} present | {mask.mean():.0%} of the frames |" for name, mask in trace.present.items())
    gates = "\n".join(
        f"| {gate.name} | {np.nanmean(values):.2f} |"
        for gate, values in trace.gates.items()
        if gate.kind in ("reliability", "attended")
    )
    notes = "\n".join(f"- {note}" for note in trace.notes)
    seconds = trace.time_s[-1] - trace.time_s[0]
    return f"""# A real speech through the default weights

Made by `python tools/example.py` (`make docs`); every number comes from that command.

`{trace.source}` is {seconds:.1f} s of a White House address (public domain): {len(trace)} frames at an odd rate,
with a second, smaller face in view. This is what `avgate predict` makes of it without a checkpoint of its own:

![Valence and arousal over time, the plane, presence and gates](example.png)

| target | mean | lowest | highest | {trace.level:.0%} interval, its ends' means |
|---|---|---|---|---|
{rows}

| presence | |
|---|---|
{present}

| gate | mean |
|---|---|
{gates}

What avgate says beside it:

{notes}

## What this shows

avgate works on a recording that has nothing to do with the clips that the weights were trained on: there is one row
per decoded frame, on the container's own clock; the speaker is followed although another face is in view; pauses in
the speech are noticed; and the gates say, moment by moment, how far the model mixed voice and face.

## What it doesn't show

How right the curves are: nobody rated this speech here, so there is no figure for that. What is known of other
people stands [elsewhere](real-people.md). The weights learned from rendered clips, photographs and acted speech
([model card](model-card.md)), and a public address is none of these. A smile can be polite, a raised voice can be
emphasis, and curves can follow the rhythm of speech rather than any feeling. For any statement about a person, use
weights trained on rated recordings of such people, and report their CCC beside it.
"""


if __name__ == "__main__":
    main()
