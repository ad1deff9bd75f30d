"""What validation found, as a table for people and as JUnit XML for CI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

if TYPE_CHECKING:
    from kubeup.checks.validation import CheckResult


def as_table(results: Sequence[CheckResult]) -> str:
    """One line a check: its name, whether it passed, how many seconds it took, what was seen."""
    lines = [f"{'CHECK':<22}{'RESULT':<9}{'SECONDS':>7}  WHAT WAS SEEN"]
    for result in results:
        lines.append(
            f"{result.name:<22}{'ok' if result.ok else 'FAILED':<9}{result.seconds:>7.1f}  {_one_line(result.detail)}"
        )
    failed = sum(not result.ok for result in results)
    lines.append(f"{len(results)} checks, {failed} failed")
    return "\n".join(lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def as_junit(cluster: str, results: Sequence[CheckResult]) -> str:
    """The same as JUnit XML: a test suite with a test case for each check."""
    suite = Element(
        "testsuite",
        name="kubeup validate",
        tests=str(len(results)),
        failures=str(sum(not result.ok for result in results)),
        errors="0",
        skipped="0",
        time=f"{sum(result.seconds for result in results):.3f}",
    )
    for result in results:
        case = SubElement(
            suite, "testcase", classname=f"kubeup.{cluster}", name=result.name, time=f"{result.seconds:.3f}"
        )
        # What XML cannot hold, a terminal's colours say, is left out.
        detail = "".join(letter for letter in result.detail if letter.isprintable() or letter in "\n\t")
        if result.ok:
            SubElement(case, "system-out").text = detail
        else:
            SubElement(case, "failure", message=_one_line(detail)).text = detail
    suites = Element("testsuites")
    suites.append(suite)
    indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(suites, encoding="unicode")}\n'
