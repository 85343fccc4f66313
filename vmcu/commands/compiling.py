"""The command line's options -> a compiled model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import vmcu.api
from vmcu.commands.options import chosen_target, shapes_mapping, states_mapping


def compile_model(model: Path, target: str, compiler: str, options: dict[str, Any]) -> vmcu.api.Model:
    """Compiles with the command line's options."""
    return vmcu.api.compile(
        model,
        chosen_target(target, options),
        name=options["name"],
        numerics=options["numerics"],
        input_shapes=shapes_mapping(options["input_shapes"]),
        states=states_mapping(options["states"]),
        stream_inputs=options["stream_inputs"],
        stream_outputs=options["stream_outputs"],
        allow_recompute=options["allow_recompute"],
        optimise=options["optimise"],
        dead_channels=options["dead_channels"],
        compiler=compiler,  # type: ignore[arg-type]
        ram_bytes=options["ram_bytes"],
        flash_bytes=options["flash_bytes"],
        tune=options["tune"],
    )
