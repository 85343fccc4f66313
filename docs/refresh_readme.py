"""Runs the `$ vmcu ...` lines of README.md and puts what they print below them: `make readme`."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
INDENT = "    "
COMMAND = re.compile(rf"^{INDENT}\$ vmcu (.*)\n((?:{INDENT}(?!\$).*\n|\n(?={INDENT}(?!\$)))*)", re.MULTILINE)


def main() -> None:
    """Rewrites README.md; commands run in an empty folder that has `models` and `digits.npy`."""
    readme = ROOT / "README.md"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "models").symlink_to(ROOT / "models")
        samples = np.load(ROOT / "models" / "mnist_cnn" / "samples.npz")
        np.save(Path(folder) / "digits.npy", samples["inputs"][:100])

        def run(found: re.Match[str]) -> str:
            line = [sys.executable, "-m", "vmcu.cli", *shlex.split(found[1])]
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
            done = subprocess.run(
                line, cwd=folder, env=environment, capture_output=True, text=True, check=True
            )
            shown = "".join(f"{INDENT}{text}\n" if text else "\n" for text in done.stdout.splitlines())
            return f"{INDENT}$ vmcu {found[1]}\n{shown}"

        readme.write_text(COMMAND.sub(run, readme.read_text()))


if __name__ == "__main__":
    main()
