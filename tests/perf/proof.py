"""That `resbench compare` finds a slowdown of 10 %: HEAD against a copy of it with slowdown.patch. `make proof`."""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PATCH = Path(__file__).with_name("slowdown.patch")
COMPARE = ["--only", "work=train", "--pairs", "6", "--device", "cpu"]


def main() -> int:
    """Compare, and say whether the slowdown was found; 0 if it was."""
    with tempfile.TemporaryDirectory() as folder:
        slowed, results = Path(folder) / "slowed", Path(folder) / "results"
        subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, slowed], check=True)
        subprocess.run(["git", "-C", slowed, "apply", PATCH], check=True)
        command = [sys.executable, "-m", "bench.cli", "compare", "HEAD", slowed, *COMPARE, "--results", results]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
    print("proof:", "a slowdown of 10 % was found" if code == 1 else f"a slowdown of 10 % was not found: exit {code}")
    return int(code != 1)


if __name__ == "__main__":
    sys.exit(main())
