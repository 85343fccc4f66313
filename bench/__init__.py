"""Figures that can be reproduced by anyone with the repository: `python -m bench.table`."""
