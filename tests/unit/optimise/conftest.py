"""Both numerics."""

from __future__ import annotations

import pytest

from vmcu.ir.quantized import Numerics


@pytest.fixture(params=["onnx", "tflm"])
def numerics(request: pytest.FixtureRequest) -> Numerics:
    return request.param  # type: ignore[no-any-return]
