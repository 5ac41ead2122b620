"""Write the tree of files into README.md, one line each, from the files' own first lines. Run by `make docs`."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- tree: written by docs/tree.py -->\n", "<!-- end of tree -->"
OTHERS = {
    "src/avgate/web/report.css": "How the report looks.",
    "src/avgate/web/report.html": "The report's frame.",
    "src/avgate/web/report.js": "The report's playhead, video and keys.",
    "src/avgate/web/report_plane.html": "The plane's card of the report.",
    "src/avgate/web/report_plots.js": "The report's plots.",
    "src/avgate/weights/demonstration.safetensors": "The demonstration weights.",
}


def tree() -> str:
    """One line per file of the package, benchmarks and docs, grouped by folder; tests one line per folder."""
    listed = subprocess.run(
        ["git", "ls-files", "src", "benchmarks", "docs/*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines, folder = [], None
    for name in sorted(listed.stdout.split(), key=lambda name: (str(Path(name).parent), name)):
        path = Path(name)
        if path.parent != folder:
            folder = path.parent
            lines.append(f"{folder.as_posix()}/")
        lines.append(f"  {path.name:<28}{about(path)}")
    lines += [
        "tests/",
        "  unit/                       one file per module",
        "  contract/                   what every backbone, corpus, fusion, label format and writer promises",
        "  golden/                     the equations, written a second time",
        "  e2e/                        the command line, real recordings, a real browser",
    ]
    return "\n".join(["```", *lines, "```", ""])


def about(path: Path) -> str:
    """The first sentence of a module's docstring, or what OTHERS says of the file."""
    if path.as_posix() in OTHERS:
        return OTHERS[path.as_posix()]
    return (ast.get_docstring(ast.parse((ROOT / path).read_text())) or "").split("\n")[0]


def main() -> None:
    """Replace the tree in README.md."""
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(START)
    _, _, after = rest.partition(END)
    readme.write_text(before + START + tree() + END + after)


if __name__ == "__main__":
    main()
