"""The operator families. A family is added by its one line here."""

from vmcu.ops import binary, conv, dense, pool, prelu, rearrange, reduce, resize, shape, softmax, unary

OPS = (conv, dense, binary, pool, reduce, unary, prelu, softmax, rearrange, resize, shape)

LOWERINGS = {op: lower for family in OPS for op, lower in family.LOWERINGS.items()}
