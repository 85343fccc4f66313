"""doctor, targets, ops."""

from __future__ import annotations

import click

from vmcu.commands.options import json_option
from vmcu.commands.output import print_json, print_table
from vmcu.ops.registry import OPS
from vmcu.targets import list_targets
from vmcu.toolchain.doctor import diagnose

STRUCTURE = ("QuantizeLinear", "DequantizeLinear")


@click.command(epilog="Example: vmcu doctor")
@json_option
def doctor(as_json: bool) -> None:
    """Shows which compilers, emulators and oracles are there, and how to get the rest."""
    findings = diagnose()
    if as_json:
        print_json(
            [
                {"tool": f.what, "found": f.found, "version": f.version, "use": f.purpose, "get": f.get}
                for f in findings
            ]
        )
        return
    print_table(
        ["tool", "found", "for", "how to get it"],
        [
            [f.what, f.version if f.found else f.version or "no", f.purpose, "" if f.found else f.get]
            for f in findings
        ],
    )


@click.command(epilog="Example: vmcu targets --json")
@json_option
def targets(as_json: bool) -> None:
    """Lists chips and cores."""
    found = list_targets()
    if as_json:
        print_json(
            [
                {
                    "name": t.name,
                    "description": t.description,
                    "core": t.core,
                    "flash_bytes": t.flash_bytes,
                    "ram_bytes": t.ram_bytes,
                }
                for t in found
            ]
        )
        return
    rows = [[t.name, t.core, t.flash_bytes, t.ram_bytes, t.description] for t in found]
    print_table(["target", "core", "flash bytes", "RAM bytes", "what"], rows, right=(2, 3))


@click.command(epilog="Example: vmcu ops")
@json_option
def ops(as_json: bool) -> None:
    """Lists the ONNX operators that can be compiled.

    QOperator forms (QLinearConv, QGemm, ...) and what canonicalisation removes (BatchNormalization,
    Dropout, Flatten, Squeeze, ...) are accepted too.
    """
    families = [(family.__name__.rsplit(".", 1)[1], sorted(family.LOWERINGS)) for family in OPS]
    if as_json:
        print_json(dict(families))
        return
    print_table(["family", "operators"], [[name, ", ".join(names)] for name, names in families])
