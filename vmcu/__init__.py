"""vmcu: quantised neural networks to C for Cortex-M, in the least RAM, proven bit-exact.

import vmcu
m = vmcu.compile("model.onnx", target="cortex-m4")
y = m.run(x)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmcu.errors import Exit, Problem, VmcuError

if TYPE_CHECKING:
    from vmcu.api import Model, compile

__all__ = ["Exit", "Model", "Problem", "VmcuError", "compile"]


def __getattr__(name: str) -> Any:
    """`compile` and `Model` on first use: importing one module of the package loads only that one."""
    if name in ("Model", "compile"):
        from vmcu import api

        return getattr(api, name)
    raise AttributeError(f"module 'vmcu' has no attribute '{name}'")
