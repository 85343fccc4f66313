"""The one form each operator has after `normalise_ops`; a module a family, `FORMS` the registry."""

from vmcu.passes.forms import arithmetic, movement, windows

FORMS = {**arithmetic.FORMS, **movement.FORMS, **windows.FORMS}
