"""Schemathesis makes up requests out of the document, good ones and bad ones, and holds what comes
back against it: no 500, no status, header or body that is not described."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, CheckContext, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from participants.shipping.webhook import sign
from tests.contract.conftest import Stage
from tests.contract.documents import WHOLE, each

#: Without who may call: else half of the requests would carry a made-up token, and nothing more
#: would be learnt than that it is refused.
OPEN = {
    **WHOLE,
    "paths": {
        path: {method: {**said, "security": []} for method, said in methods.items()}
        for path, methods in WHOLE["paths"].items()
    },
    "components": {**WHOLE["components"], "securitySchemes": {}},
}
SCHEMA = schemathesis.openapi.from_dict(
    OPEN,
    config=schemathesis.Config.from_dict(
        {"checks": {"negative_data_rejection": {"expected-statuses": ["4xx", "5xx"]}}}
    ),
)
NAMES = [f"{method.upper()} {path}" for method, path, _ in each()]
LIMIT_S = 120.0

#: Faults that a request may have although it fits its schema: rules that no schema can say.
BEYOND_SCHEMAS: Final = {
    "/lines": "each SKU once, and a total that can be paid",
    "cursor": "must have come with a page of the same list",
}


def good_data_acceptance(_ctx: CheckContext, response: Response, case: Case) -> bool | None:
    """What fits the schema is not refused as if it did not."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return None
    if response.status_code not in (400, 415, 422):
        return None
    problem = response.json()
    if problem["code"] not in ("validation_failed", "malformed_request"):
        return None
    assert problem.get("errors"), f"refused as {problem}"
    unfair = [fault for fault in problem["errors"] if not _is_beyond_schemas(fault, case.body)]
    assert not unfair, f"refused for {unfair}"
    return None


def _is_beyond_schemas(fault: dict[str, str], body: Any) -> bool:
    place = fault.get("pointer", fault.get("parameter", ""))
    if place in BEYOND_SCHEMAS:
        return True
    for name in place.split("/")[1:]:
        body = body[int(name)] if isinstance(body, list) else body[name]
    # To JSON Schema 2.0 is an integer; to the contract it is none.
    return isinstance(body, float) and body.is_integer()


CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    good_data_acceptance,
]


class _Signed(requests.auth.AuthBase):
    """The carrier's signature under whatever is sent."""

    def __init__(self, stage: Stage) -> None:
        self._shop = stage.shop

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        raw = body.encode() if isinstance(body, str) else body
        now = int(self._shop.shop.clock.now())
        signature = sign(raw, self._shop.settings.carrier_secret, now)
        request.headers["Carrier-Signature"] = signature
        return request


@pytest.fixture(scope="session")
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        opened.trust_env = False
        yield opened


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_is_as_described(
    name: str, stage: Stage, session: requests.Session, pytestconfig: pytest.Config
) -> None:
    method, path = name.split()
    operation = SCHEMA[path][method]
    cases: int = pytestconfig.getoption("--contract-cases")
    good = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    bad = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    seen: Counter[int] = Counter()
    asked: Counter[bool] = Counter()

    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=cases <= 50,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=st.one_of(good, bad), is_there=st.booleans(), as_customer=st.booleans())
    def send(case: Case, is_there: bool, as_customer: bool) -> None:
        if is_there:
            _aim(case, stage)
        caller = stage.shop.customer if as_customer else stage.shop.staff
        security = WHOLE["paths"][path][method.lower()]["security"]
        seen[_ask(case, security, stage, session, caller.token)] += 1
        asked[as_customer] += 1

    send()
    assert asked[True]
    assert asked[False]
    print(f"{name}: {seen.total()} requests, {dict(sorted(seen.items()))}")
    assert 500 not in seen


def _aim(case: Case, stage: Stage) -> None:
    """At what is there: else nearly every answer would be that it is not."""
    for place in case.path_parameters or {}:
        if place in stage.known:
            case.path_parameters[place] = stage.known[place]
    if case.meta is not None and case.meta.generation.mode.is_positive:
        lines = case.body.get("lines", ()) if isinstance(case.body, dict) else ()
        for line in lines[:1]:
            line["sku"] = stage.known["sku"]


def _ask(
    case: Case,
    security: list[dict[str, Any]],
    stage: Stage,
    session: requests.Session,
    token: str,
) -> int:
    headers = {}
    auth = _Signed(stage) if security == [{"carrier": []}] else None
    if security and auth is None:
        headers["Authorization"] = f"Bearer {token}"
    response = case.call_and_validate(
        base_url=stage.url,
        session=session,
        headers=headers,
        checks=CHECKS,
        auth=auth,
        timeout=LIMIT_S,
        allow_redirects=False,
    )
    return int(response.status_code)
