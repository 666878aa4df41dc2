"""audit.py LOCK: known vulnerabilities of what a lock file pins, by pip-audit, which asks PyPI; it runs apart, by uv.

Exits with 0 where none is known, 1 where one is, 3 where some packages could not be looked up, and none of the others
has one, and 4 where none could.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PIP_AUDIT = "pip-audit==2.10.1"


def main(lock: str) -> int:
    """Audit a lock file, and say in lines what came of it."""
    words = ["tool", "run", PIP_AUDIT, "--require-hashes", "--disable-pip", "--requirement", lock, "--format", "json"]
    uv = Path(sys.executable).with_name("uv")  # of this environment
    done = subprocess.run([uv, *words, "--progress-spinner", "off"], capture_output=True, text=True, check=False)
    lines, code = found(done.stdout)
    print(*lines, sep="\n")
    return code


def found(answer: str) -> tuple[list[str], int]:
    """What pip-audit's JSON says, in lines, and the exit code; what is no such JSON is an audit that could not be."""
    try:
        packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        packages = []
    known = [package for package in packages if "vulns" in package]
    if not known:
        return ["audit: no package could be looked up: nothing is known of any (is PyPI itself within reach?)"], 4
    lines = [
        f"{package['name']} {package['version']}: {each['id']}; mended in {', '.join(each['fix_versions']) or 'none'}"
        for package in known
        for each in package["vulns"]
    ]
    apart = [package["name"] for package in packages if "vulns" not in package]
    unknown = f"; not looked up: {', '.join(apart)}" if apart else ""
    told = f"audit: {len(lines)} known vulnerabilities in {len(known)} packages{unknown}"
    return [*lines, told], 1 if lines else 3 if apart else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
