"""A report for people (rich), and for GitHub's annotations."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from sagas.check.checking import Report
from sagas.check.finding import Finding, Severity

__all__ = ["github", "human"]

_COLOUR = {Severity.ERROR: "red", Severity.WARNING: "yellow"}


def human(report: Report, console: Console) -> None:
    """Print a report: each finding with its place, trace and advice, then what was explored."""
    for finding in report.findings:
        _print(finding, console)
    explored = (
        f"{report.states:,} states, {report.transitions:,} transitions, {report.ends:,} ends "
        f"explored in {report.seconds:.2f} s"
    )
    count = f"{len(report.findings)} finding{'s' if len(report.findings) > 1 else ''}"
    verdict = "[green]clean[/]" if report.clean else f"[red]{count}[/]"
    line = f"{escape(report.choreography)}: {verdict}; {explored}"
    console.print(line, highlight=False, soft_wrap=True)


def _print(finding: Finding, console: Console) -> None:
    colour = _COLOUR[finding.severity]
    head = f"[bold {colour}]{finding.severity} {finding.code}[/] [bold]{finding.rule.name}[/]"
    console.print(f"{head}  {escape(finding.subject)}", highlight=False)
    if finding.place is not None:
        # Never wrapped: terminals make it a link.
        console.print(f"  {finding.place}", style="cyan", highlight=False, soft_wrap=True)
    console.print(Padding(escape(finding.message), (0, 0, 0, 2)), highlight=False)
    for number, happening in enumerate(finding.trace, 1):
        line = f"{number:>3}  {escape(str(happening))}"
        console.print(Padding(line, (0, 0, 0, 4)), style="dim", highlight=False)
    console.print(Padding(f"[bold]Do:[/] {escape(finding.advice)}", (0, 0, 1, 2)), highlight=False)


def github(report: Report) -> str:
    """One workflow command per finding: they become annotations on the lines."""
    return "".join(f"{_annotation(finding)}\n" for finding in report.findings)


def _annotation(finding: Finding) -> str:
    trace = [f"{number}. {each}" for number, each in enumerate(finding.trace, 1)]
    body = "\n".join([finding.message, *trace, finding.advice])
    marks = {"title": f"{finding.code} {finding.rule.name}"}
    if finding.place is not None:
        marks = {"file": finding.place.shown, "line": str(finding.place.line), **marks}
    told = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in marks.items())
    return f"::{finding.severity} {told}::{_escaped(body)}"


def _escaped(text: str, more: str = "") -> str:
    """GitHub's own escapes; properties need two more than messages."""
    for sign in "%\r\n" + more:
        text = text.replace(sign, f"%{ord(sign):02X}")
    return text
