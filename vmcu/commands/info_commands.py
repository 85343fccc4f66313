"""doctor, targets, ops."""

from __future__ import annotations

from pathlib import Path

import click

from vmcu.commands.describe import can, describe, mhz, print_target, regions_text
from vmcu.commands.options import complete_target, json_option, target_path_option
from vmcu.commands.output import print_json, print_table
from vmcu.ops.registry import OPS
from vmcu.targets import list_targets, load_target
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


@click.command(epilog="Example: vmcu targets nucleo-h743zi")
@click.argument("name", required=False, shell_complete=complete_target)
@target_path_option
@json_option
def targets(name: str | None, target_path: tuple[Path, ...], as_json: bool) -> None:
    """Lists chips and cores; with NAME all that is known of one."""
    found = [load_target(name, target_path)] if name else list(list_targets(target_path))
    if as_json:
        facts = [describe(t) for t in found]
        print_json(facts[0] if name else facts)
        return
    if name:
        print_target(found[0])
        return
    rows = [
        [t.name, t.core, mhz(t), regions_text(t.ram), regions_text(t.flash), ", ".join(can(t)), t.description]
        for t in found
    ]
    print_table(["target", "core", "MHz", "RAM", "flash", "firmware", "what"], rows, right=(2,))


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
