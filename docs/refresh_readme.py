"""Runs the `$ vmcu ...` lines of README.md and puts what they print below them, and figures into its tables: `make readme`.

What is shown in part (there is a line "...") stays, and so does what needs a model that is not in this folder or in
../shared/models.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from readme_tables import with_tables
from walk import section, walk

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
            name = next((word for word in shlex.split(found[1]) if word.endswith(".onnx")), "")
            link = Path(folder) / name
            if name and not link.exists():
                shared = ROOT.parent / "shared" / "models" / link.stem / "model_qdq_int8io.onnx"
                if not shared.exists():
                    return found[0]
                link.symlink_to(shared.resolve())
            if f"{INDENT}...\n" in found[2]:
                return found[0]
            line = [sys.executable, "-m", "vmcu.cli", *shlex.split(found[1])]
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
            done = subprocess.run(
                line, cwd=folder, env=environment, capture_output=True, text=True, check=True
            )
            shown = "".join(f"{INDENT}{text}\n" if text else "\n" for text in done.stdout.splitlines())
            return f"{INDENT}$ vmcu {found[1]}\n{shown}"

        text = with_tables(COMMAND.sub(run, readme.read_text()))
        with tempfile.TemporaryDirectory() as empty:
            part = section(text)
            readme.write_text(text.replace(part, walk(part, Path(empty))))


if __name__ == "__main__":
    main()
