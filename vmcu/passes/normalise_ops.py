"""Differences of opsets and of spelling are ironed out: each operator has one form afterwards (package docstring)."""

from __future__ import annotations

from vmcu.errors import Exit, Problem, VmcuError
from vmcu.ir.graph import Graph
from vmcu.passes.edit import Edit, Refused
from vmcu.passes.forms import FORMS

REASON = "lowering sees one form of each operator, whatever the exporter and the opset"

CANONICAL_OPSET = 21
"""Whose meaning (not spelling) operators have afterwards."""


def normalise_ops(graph: Graph) -> Graph:
    """Brings every known operator into its form; operators without one pass unchanged.

    Raises:
        VmcuError: (INPUT) listing all nodes whose parameters have no such form.
    """
    edit = Edit(graph)
    problems: list[Problem] = []
    for node in edit.walk():
        form = FORMS.get(node.op)
        try:
            if form is None:
                edit.emit(node)
            else:
                form(node, edit)
        except Refused as error:
            problems.append(error.problem(node))
            edit.emit(node)
    if problems:
        raise VmcuError(Exit.INPUT, problems)
    return edit.finish(opset=CANONICAL_OPSET)
