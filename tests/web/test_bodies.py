"""Strict JSON in: what is refused, with which status, and where the fault is said to be."""

from __future__ import annotations

import json
from typing import Annotated

import pytest
from aiohttp import web
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sagas.web.body import json_response, read_nothing, read_query
from sagas.web.problems import pointer

JSON = {"Content-Type": "application/json"}


async def post(host, body, headers=JSON):
    response, answer = await host.ask("POST", "/things", data=body, headers=headers)
    found = json.loads(answer)
    return response.status, found.get("code"), found.get("errors")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1,]",
        b'{"lines": []} x',
        b'{"lines": [], "lines": []}',
        b'{"lines": NaN}',
        b'{"lines": [{"sku": "a", "quantity": Infinity}]}',
        b'{"lines": ' + b"[" * 40 + b"]" * 40 + b"}",
        b"[" * 30_000,
        b'{"lines": "\xff"}',
        b'\xef\xbb\xbf{"lines": []}',
        '{"lines": []}'.encode("utf-16"),
        b'{"lines": "\\ud800"}',
        b'{"lines": ' + b"1" * 5_000 + b"}",
    ],
)
async def test_what_is_no_proper_json_is_malformed(shop, body):
    assert (await post(shop, body))[:2] == (400, "malformed_request")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ["/lines"]),
        ([], [""]),
        ({"lines": [], "a/b~c": 1}, ["/a~1b~0c"]),
        ({"lines": [{"sku": "a", "quantity": True}]}, ["/lines/0/quantity"]),
        ({"lines": [{"sku": "a", "quantity": "2"}]}, ["/lines/0/quantity"]),
        ({"lines": [{"sku": "a", "quantity": 1.5}]}, ["/lines/0/quantity"]),
        ({"lines": [{"sku": "a", "quantity": 1.0}]}, ["/lines/0/quantity"]),
        ({"lines": [{"sku": "a", "quantity": 10**30}, 7]}, ["/lines/1"]),
        ({"lines": [{"sku": 1, "quantity": 0}]}, ["/lines/0/sku", "/lines/0/quantity"]),
    ],
)
async def test_what_does_not_fit_is_named_by_its_pointer(shop, body, where):
    status, code, errors = await post(shop, json.dumps(body))
    assert (status, code) == (422, "validation_failed")
    assert [error["pointer"] for error in errors] == where
    assert all(error["detail"] for error in errors)


async def test_brackets_in_text_are_not_depth(shop):
    body = json.dumps({"lines": [{"sku": "[" * 100 + '\\"{', "quantity": 1}]})
    assert (await post(shop, body))[0] == 201


async def test_a_flood_of_faults_is_cut_short(shop):
    status, _, errors = await post(shop, json.dumps({f"x{n}": 1 for n in range(2_000)}))
    assert status == 422
    assert len(errors) == 50


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json; charset=utf-8", 201),
        ("application/json;charset=UTF-8", 201),
        ("Application/JSON", 201),
        ("application/json; charset=latin-1", 415),
        ("application/json-patch+json", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("nonsense", 415),
    ],
)
async def test_only_json_in_utf_8_is_taken(shop, kind, status):
    assert (await post(shop, b'{"lines": []}', {"Content-Type": kind}))[0] == status


async def test_an_encoded_body_is_not_unpacked(shop):
    headers = {**JSON, "Content-Encoding": "gzip"}
    assert (await post(shop, b"\x1f\x8b\x08", headers))[0] == 415


class Filter(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    q: str | None = None
    limit: Annotated[int, Field(le=100), BeforeValidator(int)] = 20


async def test_a_query_is_read_strictly(start):
    async def listed(request):
        return json_response(read_query(request, Filter))

    host = await start(web.get("/", listed))
    response, body = await host.ask("GET", "/?q=a%20b&limit=7")
    assert (response.status, json.loads(body)) == (200, {"q": "a b", "limit": 7})
    for query, name in (
        ("limit=x", "limit"),
        ("limit=101", "limit"),
        ("z=1", "z"),
        ("q=1&q=2", "q"),
    ):
        response, body = await host.ask("GET", f"/?{query}")
        found = json.loads(body)
        assert (response.status, found["code"]) == (422, "validation_failed")
        assert [error["parameter"] for error in found["errors"]] == [name]


async def test_a_query_of_broken_bytes_is_no_server_error(start):
    async def listed(request):
        return json_response(read_query(request, Filter))

    host = await start(web.get("/", listed))
    for target in (b"/?q=%ED%A0%80", b"/?q=%FF%00", b"/?\xff=\xfe", b"/?limit=%D9%A1"):
        answer = await host.raw(
            b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        assert answer.split(b" ", 2)[1] in (b"200", b"400", b"422"), answer


async def test_a_route_without_a_body_takes_none_or_an_empty_one(start):
    async def act(request):
        await read_nothing(request)
        return web.Response(status=204)

    host = await start(web.post("/", act))
    for body, headers, status in (
        (None, {}, 204),
        (b"", JSON, 204),
        (b"{}", JSON, 204),
        (b'{"a": 1}', JSON, 422),
        (b"x", JSON, 400),
        (b"{}", {"Content-Type": "text/plain"}, 415),
    ):
        response, _ = await host.ask("POST", "/", data=body, headers=headers)
        assert response.status == status, body


def test_pointers_escape_what_they_must():
    assert pointer(("lines", 0, "a/b~c")) == "/lines/0/a~1b~0c"
    assert pointer(()) == ""
