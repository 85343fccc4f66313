"""The reference against real TFLite Micro, given the same model as .tflite."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vmcu.batch import Batch
from vmcu.errors import Exit, fail
from vmcu.ir.quantized import QuantizedGraph
from vmcu.quant.reference import Reference
from vmcu.verify.mismatch import Mismatch, compare


def compare_tflm(tflite: Path | None, graph: QuantizedGraph, batch: Batch) -> tuple[list[Mismatch], str]:
    """Outputs of the reference against those of TFLite Micro, exactly.

    Returns:
        The first mismatch, and what was compared.

    Raises:
        VmcuError: no .tflite file; the wheel `tflite-micro` is not installed; numerics are not `tflm`.
    """
    if tflite is None:
        raise fail("needs the model as .tflite", "--against tflm", "give it with --tflite FILE")
    if graph.numerics != "tflm":
        raise fail("compares with other rounding", "--against tflm", "add --numerics tflm")
    if len(graph.inputs) != 1 or graph.states:
        raise fail("supports models with one input and no state", "--against tflm", "use --golden")
    try:
        from tflite_micro.python.tflite_micro import runtime
    except ImportError:
        raise fail("is not installed", "tflite-micro", "pip install tflite-micro", Exit.TOOL) from None
    try:
        content = tflite.read_bytes()
        interpreter = runtime.Interpreter.from_bytes(content)
    except FileNotFoundError:
        raise fail("no such file", f"'{tflite}'", "check the path") from None
    except Exception as error:
        raise fail(f"TFLite Micro refuses it: {error}", f"'{tflite}'", "check the file") from None
    shape = interpreter.get_input_details(0)["shape"]
    reference = Reference(graph)
    port = graph.inputs[0]
    for n, given in enumerate(batch.tensors):
        tensors = reference.run_tensors(given)
        # TFLite's memory is NHWC, as ours: the bytes are the same.
        data = given[port.tensor]
        if data.size != int(np.prod(shape)):
            raise fail(
                f"takes inputs of shape {list(shape)}", f"'{tflite}'", "check that it is the same model"
            )
        interpreter.set_input(data.reshape(shape), 0)
        interpreter.invoke()
        for k, out in enumerate(graph.outputs):
            expected = np.asarray(interpreter.get_output(k))
            found = tensors[out.tensor]
            if expected.size != found.size:
                raise fail(
                    f"has outputs of shape {expected.shape}", f"'{tflite}'", "check that it is the same model"
                )
            different = compare(f"output {out.name}", n, expected.reshape(found.shape), found)
            if different:
                return [different], f"{n + 1} inferences"
    return [], f"outputs of {len(batch)} inferences, bit for bit"
