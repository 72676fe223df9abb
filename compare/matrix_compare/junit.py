"""Reports as JUnit XML: a suite per pair, a case per artifact, part and scope."""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from matrix_compare.policy import COMPARED, Level
from matrix_compare.report import Group, Line, Report, largest, places
from matrix_compare.schema import Verdict


def junit(reports: Sequence[Report]) -> bytes:
    """The document, without times: the same reports give the same bytes.

    A failure of the policy is a `failure`, of a run that stopped an `error`; what was not compared
    is `skipped` where the policy does not say worse. An alert passes and is told. A pair in which
    nothing was compared has a failing case of its own, lest it be green; so has a list without
    pairs.
    """
    root = ET.Element("testsuites", name="colbert-matrix")
    for report in reports:
        suite = ET.SubElement(root, "testsuite", name=f"{report.lane} {report.a}...{report.b}")
        _fill(suite, report)
    if not reports:
        suite = ET.SubElement(root, "testsuite", name="none")
        _nothing(suite, "no pair was compared")
    return document(root)


def document(root: ET.Element) -> bytes:
    """A document of suites, once each and the whole say how many cases they hold."""
    for element in (*root, root):
        _count(element)
    ET.indent(root)
    content: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _fill(suite: ET.Element, report: Report) -> None:
    properties = ET.SubElement(suite, "properties")
    for verdict, count in report.summary.counts.items():
        ET.SubElement(properties, "property", name=verdict.value, value=str(count))
    for line in report.lines:
        _add(suite, line)
    if not any(line.verdict in COMPARED for line in report.lines):
        _nothing(suite, "nothing was compared")
    if report.doubts:
        ET.SubElement(suite, "system-out").text = "\n".join([report.sentence, *report.doubts])


def _add(suite: ET.Element, line: Line) -> None:
    name = " / ".join(filter(None, (line.artifact, line.part, line.scope)))
    case = ET.SubElement(suite, "testcase", classname=line.kind, name=name)
    told = f"{line.verdict.glyph} {line.verdict.value.replace('_', ' ')}"
    message = f"{told}: {line.reason}" if line.reason else told
    if line.level is Level.FAILURE:
        tag = "error" if line.verdict is Verdict.FAILED else "failure"
        fault = ET.SubElement(case, tag, message=message, type=line.verdict.value)
        fault.text = _figures(line)
    elif line.verdict in {Verdict.NOT_RUN, Verdict.NOT_COMPARABLE}:
        ET.SubElement(case, "skipped", message=message)
    elif line.level is Level.ALERT:
        text = "\n".join(filter(None, (f"alert: {message}", _figures(line))))
        ET.SubElement(case, "system-out").text = text


def _nothing(suite: ET.Element, message: str) -> None:
    case = ET.SubElement(suite, "testcase", classname="comparison", name="anything compared")
    ET.SubElement(case, "failure", message=message, type="nothing")


def _figures(line: Line) -> str:
    alone = Group(label=line.artifact, lines=(line,))
    figures = {"dtype": line.dtype, "largest difference": largest(alone)}
    told = [f"{name}: {value}" for name, value in figures.items() if value]
    return "\n".join([*told, *places(alone)])


def _count(element: ET.Element) -> None:
    """Say how many cases an element holds, and how many of each outcome."""
    counted = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
    for attribute, tag in counted.items():
        element.set(attribute, str(sum(1 for _ in element.iter(tag))))
