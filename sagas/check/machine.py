"""A report for programs: JSON, and SARIF 2.1.0 for code scanning."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from sagas.check.checking import Report
from sagas.check.finding import CODES, Finding, Happening, Place

__all__ = ["json", "sarif"]

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def json(report: Report) -> str:
    """The report as one JSON object."""
    return _dumped(
        {
            "choreography": report.choreography,
            "clean": report.clean,
            "states": report.states,
            "transitions": report.transitions,
            "ends": report.ends,
            "seconds": round(report.seconds, 3),
            "findings": [_finding(finding) for finding in report.findings],
        }
    )


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "name": finding.rule.name,
        "severity": finding.severity.value,
        "subject": finding.subject,
        **_at(finding.place),
        "message": finding.message,
        "advice": finding.advice,
        "trace": [
            {
                "participant": each.participant,
                "reaction": each.reaction,
                "what": each.what,
                "events": list(each.events),
                **_at(each.place),
            }
            for each in finding.trace
        ],
    }


def _at(place: Place | None) -> dict[str, Any]:
    if place is None:
        return {"file": None, "line": None}
    return {"file": place.shown, "line": place.line}


def sarif(report: Report) -> str:
    """The report as a SARIF 2.1.0 log; a trace becomes a code flow."""
    rules = [
        {
            "id": code.code,
            "name": _pascal(code.name),
            "shortDescription": {"text": code.title},
            "defaultConfiguration": {"level": code.severity.value},
        }
        for code in CODES.values()
    ]
    places = {code: index for index, code in enumerate(CODES)}
    run = {
        "tool": {"driver": {"name": "sagas", "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, places[finding.code]) for finding in report.findings],
        "properties": {"choreography": report.choreography, "states": report.states},
    }
    return _dumped({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _result(finding: Finding, rule: int) -> dict[str, Any]:
    told = f"{finding.code} {finding.subject} {finding.message}"
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": finding.severity.value,
        "message": {"text": f"{finding.message} {finding.advice}"},
        # Without the line: what moves within its file is still the same finding.
        "partialFingerprints": {"sagas/v1": hashlib.sha256(told.encode()).hexdigest()[:32]},
    }
    if finding.place is not None:
        result["locations"] = [{"physicalLocation": _location(finding.place)}]
    if finding.trace:
        steps = [_flow_step(each) for each in finding.trace]
        result["codeFlows"] = [{"threadFlows": [{"locations": steps}]}]
    return result


def _flow_step(happening: Happening) -> dict[str, Any]:
    location: dict[str, Any] = {"message": {"text": str(happening)}}
    if happening.place is not None:
        location["physicalLocation"] = _location(happening.place)
    return {"location": location}


def _location(place: Place) -> dict[str, Any]:
    shown = Path(place.shown)
    uri = shown.as_uri() if shown.is_absolute() else quote(shown.as_posix())
    return {"artifactLocation": {"uri": uri}, "region": {"startLine": place.line}}


def _pascal(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("-"))


def _dumped(content: dict[str, Any]) -> str:
    return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode() + "\n"
