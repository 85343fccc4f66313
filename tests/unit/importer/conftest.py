"""Makes tests/graph_to_onnx.py and tests/tiny_models.py importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
