"""A check as JUnit XML: a suite per torch release, a case for the whole and one per artifact."""

from xml.etree import ElementTree as ET

from matrix_compare.check import Check, Checked, CheckLine
from matrix_compare.finding import facts, outcome
from matrix_compare.junit import document
from matrix_compare.policy import Level
from matrix_compare.report import plain
from matrix_compare.schema import Verdict


def check_junit(check: Check) -> bytes:
    """The document, without times: the same check gives the same bytes.

    A failure of the policy is a `failure`, of a run that stopped an `error`; what was not compared
    is `skipped` where the policy does not say worse. An alert passes and is told. What is identical
    is counted in the properties.
    """
    root = ET.Element("testsuites", name="colbert-matrix")
    for release in check.releases:
        name = plain(f"{check.lane} torch {release.torch}")
        suite = ET.SubElement(root, "testsuite", name=name)
        _fill(suite, release)
    return document(root)


def _fill(suite: ET.Element, checked: Checked) -> None:
    properties = ET.SubElement(suite, "properties")
    for verdict, number in checked.counts.items():
        ET.SubElement(properties, "property", name=verdict.value, value=str(number))
    whole = ET.SubElement(suite, "testcase", classname="check", name="head against base")
    text = "\n".join([*facts(checked, plain), *map(plain, checked.doubts)])
    if checked.level is Level.FAILURE:
        tag = "error" if checked.head.stopped else "failure"
        _fault(whole, tag, outcome(checked, plain), "check", text)
    else:
        ET.SubElement(whole, "system-out").text = f"{outcome(checked, plain)}\n{text}"
    for line in checked.lines:
        _add(suite, line)


def _add(suite: ET.Element, line: CheckLine) -> None:
    name = plain(" / ".join(filter(None, (line.artifact, line.part, line.scope))))
    case = ET.SubElement(suite, "testcase", classname=plain(line.kind), name=name)
    told = f"{line.verdict.glyph} {line.verdict.replace('_', ' ')}"
    message = plain(f"{told}: {line.reason}" if line.reason else told)
    if line.level is Level.FAILURE:
        tag = "error" if line.verdict is Verdict.FAILED else "failure"
        _fault(case, tag, message, line.verdict, plain(line.largest_at))
    elif line.verdict in {Verdict.NOT_RUN, Verdict.NOT_COMPARABLE}:
        ET.SubElement(case, "skipped", message=message)
    elif line.level is Level.ALERT:
        ET.SubElement(case, "system-out").text = f"alert: {message}"


def _fault(case: ET.Element, tag: str, message: str, kind: str, text: str) -> None:
    ET.SubElement(case, tag, message=message, type=kind).text = text
