"""`make demo`: a trained network on an emulated Cortex-M4, checked bit for bit.

Compiles models/mnist_cnn, runs handwritten digits it was not trained on through the emulated chip,
and compares every output with the integer reference.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import vmcu
from vmcu.batch import make_batch
from vmcu.cli import run_cli
from vmcu.commands.build_commands import print_report
from vmcu.quant.reference import Reference

FOLDER = Path(__file__).parent / "mnist_cnn"
TARGET = "cortex-m4"
SAMPLES = 300
OUTPUT = Path("build/demo")
INK = " .:-=+*#%@"


def main() -> int:
    """Returns an exit code: 0 only if every output equals the reference."""
    print("== What is installed\n")
    run_cli(["doctor"])
    print(f"\n== Compiling {FOLDER.name}/model.onnx for {TARGET}\n")
    model = vmcu.compile(FOLDER / "model.onnx", target=TARGET)
    report = model.report
    model.save(OUTPUT, report)
    print_report(report)
    print(f"\nThe C project is in {OUTPUT}: {', '.join(sorted(model.compiled.project.files))}")

    print(f"\n== Running {SAMPLES} handwritten digits on the emulated chip\n")
    samples = np.load(FOLDER / "samples.npz")
    images, labels = samples["inputs"][:SAMPLES], samples["labels"][:SAMPLES]
    logits = model.run(images)
    assert isinstance(logits, np.ndarray) and model.last_run is not None
    found = logits.reshape(SAMPLES, -1).argmax(axis=1)
    draw(images[0])
    print(f"The chip says {found[0]}, the label says {labels[0]}.\n")

    reference = Reference(model.compiled.graph)
    port = model.compiled.graph.outputs[0]
    equal = 0
    for tensors, output in zip(
        make_batch(model.compiled.graph, images).tensors, model.last_run.outputs, strict=True
    ):
        equal += reference.run_tensors(tensors)[port.tensor].tobytes() == output[0]
    instructions = model.last_run.instructions or (0,)
    print(f"accuracy      {100 * float(np.mean(found == labels)):.1f} % over {SAMPLES} test digits")
    print(f"bit-exact     {equal} of {SAMPLES} inferences equal the integer reference")
    print(f"instructions  {max(instructions):,} per inference at most (exact instructions)")
    print(
        f"stack seen    {model.last_run.stack_painted_bytes} bytes; promised {report['memory']['stack_bytes']}"
    )
    return 0 if equal == SAMPLES else 4


def draw(image: np.ndarray) -> None:
    """A digit in ASCII: int8, paper -128, ink 127."""
    for row in image.reshape(28, 28)[::2]:
        print("    " + "".join(INK[(int(v) + 128) * (len(INK) - 1) // 255] * 1 for v in row))


if __name__ == "__main__":
    sys.exit(main())
