"""Fast kernels: programs in machine instructions (`assembly.py`), and the functions made of them.

Operators (`vmcu/ops`) say what is computed and offer kernels; what is common to the kernels of several operators, and
the text of hand-scheduled loops, is here.
"""
