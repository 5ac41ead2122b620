"""Writes docs/licences.md: under which licence each package stands that comes with avgate, and what that means."""

from __future__ import annotations

import argparse
import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).resolve().parents[1] / "docs" / "licences.md"
HEAD = "| package | licence | comes with |\n|---|---|---|\n"
PAGE_TEXT = """# Licences

avgate itself is under the [MIT licence](../LICENSE). It contains no other package: `pip` installs those below beside
it, each under its own licence. This page is written by

```
.venv/bin/python tools/licences.py
```

which fails where a licence doesn't go with avgate's. It lists what the tested versions need on Linux with Python 3.11.
`make sbom` writes the packages that always come, with versions, into `sbom.cdx.json`: a CycloneDX file, for machines.

## What you have to know

{special}

## All packages

{table}"""

NOT_FOR_USERS = {"dev"}
"""Extras that only developers of avgate install."""

ALLOWED = {
    *("0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0"),
    "CNRI-Python",
    *("HPND", "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib"),
    # These bind their own files alone, and a package that is installed beside avgate stays its own.
    *("LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later", "MPL-2.0"),
}
"""SPDX names of licences that let avgate, under MIT, depend on a package and be given on with it."""

SPECIAL = {
    "opensmile": (
        "audEERING Research License",
        "**Not for commercial products.** openSMILE may be used for research, teaching and private purposes. A product "
        "needs a licence from audEERING, and by its terms models made with its features count as use: avgate's default "
        "weights, those for live use, and all others that were trained on `egemaps`. Package indexes show the MIT "
        "licence of its Python wrapper alone. Recipes with `logmel` in place of `egemaps` don't use openSMILE.",
    ),
    "av": (
        "BSD-3-Clause",
        "Its wheel carries FFmpeg (LGPL 3 or later, by its own word), and beside it x264 and x265, encoders under the "
        "GPL 2 or later. Whoever gives such a wheel on, as in a container, has to keep to these.",
    ),
    "opencv-contrib-python": ("Apache-2.0", "Its wheel carries FFmpeg (LGPL 2.1 or later) and Qt 5 (LGPL 3)."),
    "soundfile": ("BSD-3-Clause", "Its wheel carries libsndfile (LGPL 2.1 or later)."),
}
"""Package -> its licence and what whoever installs it has to know, where its own description isn't all of it."""

_TEXTS = {
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache": "Apache-2.0",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "bsd": "BSD-3-Clause",
    "mit license": "MIT",
    "dual license": "Apache-2.0 OR BSD-3-Clause",
    "python software foundation license": "PSF-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "isc license (iscl)": "ISC",
    "the unlicense (unlicense)": "Unlicense",
}
"""What packages wrote before there were SPDX names -> these. Of "BSD" without more, the stricter of the two."""


def closure(extra: str = "") -> dict[str, Distribution]:
    """All packages that avgate needs here, and those that they need: name -> package. Without avgate itself.

    Raises:
        PackageNotFoundError: one of them isn't installed.
    """
    found: dict[str, Distribution] = {}
    waiting = [("avgate", extra)]
    seen = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        found[name] = distribution(name)
        for text in found[name].requires or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({**default_environment(), "extra": wanted}):
                waiting += [(canonicalize_name(needed.name), more) for more in ("", *needed.extras)]
    del found["avgate"]
    return found


def extras() -> list[str]:
    """Those of avgate's extras that users install."""
    return sorted(set(distribution("avgate").metadata.get_all("Provides-Extra") or ()) - NOT_FOR_USERS)


def licence(package: Distribution) -> str:
    """A package's licence as an SPDX expression, or in its own words where they are none."""
    name = canonicalize_name(package.name)
    if name in SPECIAL:
        return SPECIAL[name][0]
    about = package.metadata
    if expression := about.get("License-Expression"):
        return str(expression)
    marks = "License :: OSI Approved :: "
    classes = [c.removeprefix(marks) for c in about.get_all("Classifier") or () if c.startswith(marks)]
    first = (str(about.get("License") or "").strip() or "unknown").splitlines()[0].strip()
    for said in (first, *classes):
        if found := _TEXTS.get(said.lower()) or (said if parts(said) <= ALLOWED else ""):
            return found
    return first


def parts(expression: str) -> set[str]:
    """The licences that an expression names together; of alternatives, those that are allowed, if any is."""
    both = [part.strip(" ()") for part in re.split(r"\bAND\b", expression)]
    found = set()
    for part in both:
        choices = {choice.strip(" ()") for choice in re.split(r"\bOR\b", part)}
        found |= (choices & ALLOWED) or choices
    return found


def fits(name: str, said: str) -> bool:
    """Whether avgate may depend on a package: its licence is allowed, or it is one that the page warns of."""
    return name in SPECIAL or parts(said) <= ALLOWED


def rows() -> list[tuple[str, str, str]]:
    """Package, licence, and what it comes with: avgate, or some of its extras. What always comes goes first."""
    always = closure()
    with_extra = {extra: closure(extra) for extra in extras()}
    packages = {**always, **{name: package for more in with_extra.values() for name, package in more.items()}}
    found = []
    for name in sorted(packages, key=lambda name: (name not in always, name)):
        origin = ["avgate"] if name in always else [f"`[{e}]`" for e, more in with_extra.items() if name in more]
        found.append((name, licence(packages[name]), ", ".join(origin)))
    return found


def page() -> str:
    """The page, in Markdown."""
    found = rows()
    special = "\n".join(f"- `{name}`: {SPECIAL[name][1]}" for name, _, _ in found if name in SPECIAL)
    table = "".join(f"| {name} | {said} | {origin} |\n" for name, said, origin in found)
    return PAGE_TEXT.format(special=special, table=HEAD + table)


def main() -> None:
    """Write the page; end with an error where a package doesn't fit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PAGE)
    out = parser.parse_args().out
    try:
        wrong = [f"{name}: {said}" for name, said, _ in rows() if not fits(name, said)]
    except PackageNotFoundError as error:
        sys.exit(f"{error.name} isn't installed: install avgate with all its extras")
    if wrong:
        sys.exit("licences that don't go with MIT, or that nobody has looked at:\n" + "\n".join(wrong))
    out.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
