"""Checks -> JUnit XML, the format that CI services show. Pure.

Source: the schema that Jenkins and GitLab read: testsuites, testsuite, testcase, failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from vmcu.picture.render import clean

MARKER = "<?xml version='1.0' encoding='utf-8'?>\n<testsuites name=\"vmcu\""
"""First bytes of every such file: vmcu overwrites nothing else."""


@dataclass(frozen=True, slots=True)
class Case:
    """One check.

    Attributes:
        suite: what it belongs to, e.g. a model and target.
        name: what was checked.
        detail: the figures.
        failure: why it failed; "" where it did not.
    """

    suite: str
    name: str
    detail: str
    failure: str = ""


def junit_xml(cases: Sequence[Case]) -> str:
    """The text of the file; suites in the order of their first case."""
    failures = sum(bool(case.failure) for case in cases)
    root = ElementTree.Element(
        "testsuites", {"name": "vmcu", "tests": str(len(cases)), "failures": str(failures)}
    )
    suites: dict[str, list[Case]] = {}
    for case in cases:
        suites.setdefault(case.suite, []).append(case)
    for name, members in suites.items():
        failed = sum(bool(case.failure) for case in members)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            {"name": clean(name), "tests": str(len(members)), "failures": str(failed), "errors": "0"},
        )
        for case in members:
            one = ElementTree.SubElement(
                suite, "testcase", {"classname": clean(name), "name": clean(case.name)}
            )
            if case.failure:
                reason = ElementTree.SubElement(one, "failure", {"message": clean(case.failure)})
                reason.text = clean(case.detail)
            else:
                ElementTree.SubElement(one, "system-out").text = clean(case.detail)
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f"<?xml version='1.0' encoding='utf-8'?>\n{body}\n"
