"""The web page: served whole, from here alone, and asking for nothing that is not there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Awaitable, Callable

import pytest

from gateway.webpage import FOLDER
from tests.contract.documents import WHOLE
from tests.gateway.conftest import Edge

Open = Callable[..., Awaitable[Edge]]

SOURCES = {file.name: file.read_text() for file in sorted(FOLDER.iterdir())}
SCRIPTS = {name: text for name, text in SOURCES.items() if name.endswith(".js")}
#: Where they are served; the other two are parts of ``/``.
PATHS = ["/", *(f"/page/{name}" for name in SOURCES if not name.endswith(".html"))]
LOGIN = "customer-demo-password"


async def test_the_page_is_served_with_a_strict_policy(edge: Open) -> None:
    answer, body = await (await edge()).ask("GET", "/")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"<title>The shop</title>" in body
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("path", PATHS)
async def test_a_file_is_sent_once_and_then_only_asked_about(edge: Open, path: str) -> None:
    host = await edge()
    answer, body = await host.ask("GET", path)
    assert (answer.status, bool(body)) == (200, True)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-cache"
    tag = answer.headers["ETag"]
    again, nothing = await host.ask("GET", path, headers={"If-None-Match": f'"old", {tag}'})
    assert (again.status, nothing) == (304, b"")
    assert (again.headers["ETag"], again.headers["Cache-Control"]) == (tag, "no-cache")
    changed, _ = await host.ask("GET", path, headers={"If-None-Match": '"old"'})
    assert changed.status == 200
    head, nothing = await host.ask("HEAD", path)
    assert (head.status, nothing, head.headers["ETag"]) == (200, b"", tag)
    assert head.headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize("path", ["/", "/page/page.js"])
async def test_it_is_only_read(edge: Open, path: str) -> None:
    host = await edge()
    for method in ("POST", "PUT", "DELETE"):
        answer, body = await host.ask(method, path)
        assert answer.status == 405
        assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD"}
        assert b'"code":"method_not_allowed"' in body


@pytest.mark.parametrize(
    "path", ["/page", "/page/", "/page/index.html", "/page/logins.html", "/page/..%2fapp.py"]
)
async def test_nothing_else_of_the_folder_or_beside_it_is_served(edge: Open, path: str) -> None:
    answer, _ = await (await edge()).ask("GET", path)
    assert answer.status == 404


async def test_whoever_reads_too_often_is_told_to_slow_down(edge: Open) -> None:
    host = await edge(limits={"anonymous_rate_per_s": 1, "anonymous_burst": 2})
    answers = [(await host.ask("GET", "/"))[0] for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert "RateLimit" in answers[0].headers


async def test_the_demos_logins_are_told_only_where_the_demo_is(edge: Open) -> None:
    _, plain = await (await edge()).ask("GET", "/")
    _, demo = await (await edge(limits={"seed": "demo"})).ask("GET", "/")
    assert LOGIN not in plain.decode()
    assert LOGIN in demo.decode()
    assert b"<!--" not in plain + demo


async def test_everything_that_the_page_names_is_served(edge: Open) -> None:
    host = await edge()
    named = set(re.findall(r'(?:src|href)="(/page/[^"]+)"', SOURCES["index.html"]))
    for text in SCRIPTS.values():
        named |= set(re.findall(r'from "([^"]+)"', text))
    assert named >= {"/page/page.css", "/page/page.js", "/page/api.js"}
    for path in named:
        answer, _ = await host.ask("GET", path)
        kind = "text/javascript" if path.endswith(".js") else ("text/css", "image/svg+xml")
        assert answer.status == 200, path
        assert answer.headers["Content-Type"].startswith(kind), path
    assert named >= {path for path in PATHS if path != "/"}, "a file that nobody asks for"


def test_an_installed_gateway_has_all_of_it() -> None:
    project = tomllib.loads((FOLDER.parent.parent / "pyproject.toml").read_text())
    packed = project["tool"]["setuptools"]["package-data"]["gateway"]
    found = {file.name for pattern in packed for file in FOLDER.parent.glob(pattern)}
    assert found == set(SOURCES)


def test_it_asks_only_for_what_the_gateway_answers() -> None:
    """Every path in a script is written where it is asked for, with its method before it."""
    asked: list[tuple[str, str]] = []
    for text in SCRIPTS.values():
        asked += re.findall(r'(?:call|plain)\("([A-Z]+)", ["`]([^"`]+)', text)
        asked += [("GET", path) for path in re.findall(r'hear\(["`]([^"`]+)', text)]
    paths = {re.sub(r"{\w+}", "{}", path): methods for path, methods in WHOLE["paths"].items()}
    assert len(asked) >= 20
    for method, path in asked:
        place = re.sub(r"\${[^}]+}", "{}", path.partition("?")[0])
        assert method.lower() in paths.get(place, {}), f"{method} {path}"
    written = sum(text.count("/api/") for text in SCRIPTS.values())
    assert written == len(asked), "a path that this test does not see"


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_comes_from_elsewhere_and_no_text_becomes_markup(name: str) -> None:
    text = SOURCES[name].replace('"http://www.w3.org/2000/svg"', "")
    for word in ("http:", "https:", '"//', "url(", "@import"):
        assert word not in text, word
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(",
                 "new Function", "DOMParser", "javascript:"):  # fmt: skip
        assert word not in text, word
    # The policy refuses these, and silently.
    assert not re.search(r"<script>|<style|\sstyle=|\son\w+=\"", text)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_only_lines_that_can_be_read(name: str) -> None:
    lines = SCRIPTS[name].splitlines()
    assert len(lines) < 300
    assert [line for line in lines if len(line) > 120] == []
