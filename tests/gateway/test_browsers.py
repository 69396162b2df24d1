"""What a browser is told: what it may not do with an answer, and which pages may ask at all."""

from __future__ import annotations

import pytest
from aiohttp import web

PAGE = "https://shop.example"
SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
ASKING = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


@pytest.fixture
async def shop(service):
    async def answer(request):
        headers = {"ETag": '"1"'} if request.path.endswith("tagged") else {}
        kind = "text/html" if request.path.endswith("page") else "application/json"
        headers["Server"] = "banner/1.0"
        return web.Response(body=b"{}", content_type=kind, headers=headers)

    return await service(answer)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/products", 200),
        ("/api/orders", 502),
        ("/nowhere", 404),
        ("/health/live", 200),
        ("/metrics", 200),
        ("/api/gateway/upstreams", 401),
    ],
)
async def test_every_answer_carries_what_keeps_a_browser_safe(edge, shop, path, status):
    host = await edge(product=shop)
    response, _ = await host.ask("GET", path)
    assert response.status == status
    assert {name: response.headers.getall(name) for name in SAFE} == {
        name: [value] for name, value in SAFE.items()
    }
    assert "Server" not in response.headers
    assert not [name for name in response.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("raw", [b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA: "])
async def test_so_does_what_the_server_says_of_no_request(edge, raw):
    host = await edge(limits={"arrival_s": 0.1})
    head = (await host.raw(raw)).partition(b"\r\n\r\n")[0].decode()
    assert all(f"\r\n{name}: {value}" in head for name, value in SAFE.items())
    assert "\r\nServer:" not in head


async def test_what_has_a_tag_may_be_kept_by_its_reader_alone(edge, shop):
    host = await edge(product=shop)
    response, _ = await host.ask("GET", "/api/products/tagged")
    assert response.headers["Cache-Control"] == "private, no-cache"


async def test_a_page_says_itself_what_it_loads(edge, shop):
    host = await edge(product=shop)
    response, _ = await host.ask("GET", "/api/products/page")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src" not in policy
    assert "frame-ancestors 'none'" in policy


async def test_no_page_elsewhere_may_ask_unless_it_is_on_the_list(edge, shop):
    host = await edge(product=shop)
    for method, headers in (("OPTIONS", ASKING), ("GET", {"Origin": PAGE})):
        response, _ = await host.ask(method, "/api/products", headers=headers)
        assert not [name for name in response.headers if name.startswith("Access-Control")]


async def test_a_page_on_the_list_may_ask(edge, shop):
    host = await edge(product=shop, limits={"cors_origins": (PAGE,)})
    response, body = await host.ask("OPTIONS", "/api/orders", headers=ASKING)
    assert (response.status, body) == (204, b"")
    assert response.headers["Access-Control-Allow-Origin"] == PAGE
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in response.headers
    for path, status in (("/api/products", 200), ("/api/orders", 502)):
        response, _ = await host.ask("GET", path, headers={"Origin": PAGE})
        assert response.status == status
        assert response.headers["Access-Control-Allow-Origin"] == PAGE
        assert "ETag" in response.headers["Access-Control-Expose-Headers"]
        assert "Origin" in response.headers["Vary"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://shop.example",
        "https://shop.example:444",
        "https://shop.example.evil.example",
        "https://evilshop.example",
        "https://SHOP.example",
        "https://shop.example/",
        "null",
        "*",
        "",
    ],
)
async def test_another_page_may_not(edge, shop, origin):
    host = await edge(product=shop, limits={"cors_origins": (PAGE,)})
    for method in ("OPTIONS", "GET"):
        response, _ = await host.ask(method, "/api/products", headers={**ASKING, "Origin": origin})
        assert not [name for name in response.headers if name.startswith("Access-Control")]
        assert "Origin" in response.headers["Vary"]
