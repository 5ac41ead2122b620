"""Asks the database of known vulnerabilities (OSV) for those of the packages that come with avgate."""

from __future__ import annotations

import argparse
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

DATABASE = "https://api.osv.dev/"
TIMEOUT_S = 20.0


def unreachable() -> str:
    """Why the database can't be reached; empty where it answers, whatever it says."""
    try:
        urllib.request.urlopen(urllib.request.Request(DATABASE, method="HEAD"), timeout=TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return ""
    except OSError as error:
        return str(error)
    return ""


def main() -> None:
    """Print what is known of the packages; end with an error where there is something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pip-audit", type=Path, required=True, help="the program")
    parser.add_argument("--packages", type=Path, required=True, help="the site-packages folder to look into")
    args = parser.parse_args()
    if why := unreachable():
        print(f"NOT AUDITED: the database of vulnerabilities, {DATABASE}, can't be reached from here ({why})")
        return
    command = [args.pip_audit, "--path", args.packages, "--vulnerability-service", "osv", "--progress-spinner", "off"]
    sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
