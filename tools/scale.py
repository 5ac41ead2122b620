"""Write what one million hours of video would cost into docs/scale.md, from docs/benchmarks-scale.json.

python tools/scale.py      # after python benchmarks/scale.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / "docs"
BEGIN, END = "<!-- made by tools/scale.py -->\n", "<!-- end -->\n"
HOURS, CLIP_S, CORES = 1_000_000, 60.0, 1000
"""Of video; length of a clip; cores of the cluster that times are given for."""

LISTED, REQUESTS = 1000, 4
"""Keys that S3 lists in one request; requests for each file: looked for by the driver and by the worker, written, and
its header read for the manifest."""


def main() -> None:
    """Replace the part between the two comments."""
    page = DOCS / "scale.md"
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    found = json.loads((DOCS / "benchmarks-scale.json").read_text())
    page.write_text(before + BEGIN + "\n".join(lines(found)) + "\n" + END + after)


def lines(found: dict[str, Any]) -> list[str]:
    """The tables, from the figures of the benchmark."""
    clips = HOURS * 3600 / CLIP_S
    files = clips * found["files_per_clip"]
    core_hours = found["processor_s_per_hour"]["all"] * HOURS / 3600
    requests = files * REQUESTS + files / LISTED
    whole = core_hours / CORES
    alone = {
        "hands out a task for each clip": found["handing_s_per_task"] * clips / 3600,
        "looks every clip up before it begins": found["looking_s_per_clip"] * clips / 3600,
        "reads every file's header for the manifest": found["listing_s_per_file"] * files / 3600,
    }
    return [
        f"| {HOURS:,} hours as clips of {CLIP_S:g} s | |",
        "|---|---|",
        f"| clips | {clips:,.0f} |",
        f"| core hours | {core_hours:,.0f} |",
        f"| days on {CORES:,} cores like those measured | {whole / 24:,.1f} |",
        f"| store | {found['store_bytes_per_hour'] * HOURS / 1e12:,.1f} TB |",
        f"| files | {files:,.0f} |",
        f"| files in each folder (one folder for each backbone) | {clips:,.0f} |",
        f"| manifest | {found['manifest_bytes_per_file'] * files / 1e9:,.1f} GB |",
        f"| requests, where the store is on S3 | {requests:,.0f} |",
        "",
        f"| what the one driver does alone | hours | as a share of the work on {CORES:,} cores |",
        "|---|---|---|",
        *(f"| {what} | {hours:,.1f} | {hours / whole:.1%} |" for what, hours in alone.items()),
        "",
    ]


if __name__ == "__main__":
    main()
