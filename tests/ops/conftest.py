"""Makes tests/oracles and tests/tiny_models.py importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
