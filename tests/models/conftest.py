"""Makes tests/tiny_models.py importable; this folder is already."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
