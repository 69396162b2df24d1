"""A report for people (rich), and for GitHub's annotations."""

from __future__ import annotations

import textwrap

from rich.console import Console
from rich.text import Text

from sagas.check.checking import Report
from sagas.check.finding import Finding, Severity

__all__ = ["github", "human"]

_COLOUR = {Severity.ERROR: "red", Severity.WARNING: "yellow"}
#: However narrow the terminal, a line has room for so much behind its indent.
_LEAST = 24


def human(report: Report, console: Console) -> None:
    """Print a report: each finding with its place, trace and advice, then what was explored."""
    for finding in report.findings:
        _print(finding, console)
    told = Text(_verdict(report))
    told.highlight_words([f": {_count(report)};"], "bold green" if report.clean else "bold red")
    console.print(told, soft_wrap=True)


def _print(finding: Finding, console: Console) -> None:
    colour, rule = _COLOUR[finding.severity], finding.rule
    code = (f"{finding.severity} {rule.code}", f"bold {colour}")
    head = Text.assemble(code, " ", (rule.name, "bold"), f"  {finding.subject}")
    console.print(head, soft_wrap=True)
    if finding.place is not None:
        # Never wrapped: terminals make it a link.
        console.print(Text(f"  {finding.place}", "cyan"), soft_wrap=True)
    _wrapped(console, "  ", finding.message)
    for number, happening in enumerate(finding.trace, 1):
        _wrapped(console, f"{number:>6}  ", str(happening), "dim")
    _wrapped(console, "  Do: ", finding.advice, "bold")
    console.print()


def _wrapped(console: Console, lead: str, text: str, lead_style: str = "") -> None:
    """A paragraph that hangs behind its lead, and leaves no blanks at the ends of its lines."""
    room = max(console.width - len(lead), _LEAST)
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(lines):
        start = (" " * len(lead), "") if number else (lead, lead_style)
        console.print(Text.assemble(start, line), soft_wrap=True)


def _verdict(report: Report) -> str:
    return (
        f"{report.choreography}: {_count(report)}; {report.states:,} states, "
        f"{report.transitions:,} transitions, {report.ends:,} ends explored in "
        f"{report.seconds:.2f} s"
    )


def _count(report: Report) -> str:
    if report.clean:
        return "clean"
    return f"{len(report.findings)} finding{'s' if len(report.findings) > 1 else ''}"


def github(report: Report) -> str:
    """A workflow command for each finding, which becomes an annotation; then what was explored."""
    lines = [*map(_annotation, report.findings), _verdict(report)]
    return "".join(f"{line}\n" for line in lines)


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
