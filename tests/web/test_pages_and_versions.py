"""Pages of lists, conditional requests, wished waits."""

from __future__ import annotations

import base64
import json

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict, CIMultiDictProxy

from sagas.ports import Record
from sagas.web.etag import etag_of, if_match, not_modified
from sagas.web.pages import after_record, decode_cursor, encode_cursor, page
from sagas.web.prefer import preferred_wait_s
from sagas.web.problems import Problem


@pytest.mark.parametrize(
    "after", [(None, "k"), (7, "k"), ("naïve", "k-1"), (1.5, "k"), (True, "k")]
)
def test_a_cursor_leads_back_to_where_it_was_made(after):
    assert decode_cursor(encode_cursor(after, "price"), "price") == after


def test_no_cursor_is_the_beginning():
    assert decode_cursor(None) is None


def _coded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!!",
        "ü",
        "x" * 5_000,
        _coded([]),
        _coded(["", None]),
        _coded(["", None, 5]),
        _coded(["", None, ""]),
        _coded(["", {"$gt": 1}, "k"]),
        _coded(["", 2**63, "k"]),
        _coded(["price", 1, "k"]),
        _coded({"a": 1, "b": 2, "c": 3}),
        _coded("abc"),
    ],
)
def test_a_cursor_we_did_not_make_is_refused(cursor):
    with pytest.raises(Problem) as refused:
        decode_cursor(cursor)
    assert refused.value.code == "validation_failed"
    assert refused.value.errors[0]["parameter"] == "cursor"


def test_a_list_is_read_page_by_page():
    records = [Record(f"k{n}", 1, b"{}", fields={"price": n // 2}) for n in range(7)]
    seen, cursor = [], None
    for _ in range(4):
        after = decode_cursor(cursor, "price")
        start = 0 if after is None else 1 + [r.key for r in records].index(after[1])
        answer = page(
            records[start : start + 3], 2, after_record("price"), lambda r: r.key, "price"
        )
        seen += answer["items"]
        cursor = answer["next_cursor"]
    assert seen == [f"k{n}" for n in range(7)]
    assert cursor is None


def asked(**headers):
    return make_mocked_request(
        "GET", "/", headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


@pytest.mark.parametrize(
    ("sent", "fine"),
    [
        ('"3"', True),
        ("*", True),
        ('"1", "3"', True),
        ('"1","2"', False),
        ('W/"3"', False),
        ("3", False),
        ("", False),
        ('"33"', False),
        ('"03"', False),
        ('" 3"', False),
        ('"3", *', False),
        ('{"version": "3"}', False),
        ('x "3"', False),
    ],
)
def test_a_change_needs_the_version_it_saw(sent, fine):
    allowed = if_match(asked(If_Match=sent))
    assert (allowed is None or 3 in allowed) == fine


def test_a_change_without_a_version_is_refused_where_one_is_required():
    assert if_match(asked()) is None
    with pytest.raises(Problem) as refused:
        if_match(asked(), required=True)
    assert (refused.value.status, refused.value.code) == (428, "precondition_required")


def test_a_reader_with_the_same_version_is_told_so():
    assert not_modified(asked(), 3) is None
    assert not_modified(asked(If_None_Match='"2"'), 3) is None
    for sent in ('"3"', 'W/"3"', "*", '"1", W/"3"'):
        answer = not_modified(asked(If_None_Match=sent), 3)
        assert answer is not None
        assert (answer.status, answer.headers["ETag"]) == (304, etag_of(3))


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        ("wait=5", 5),
        ("WAIT = 5", 5),
        ('wait="7"', 7),
        ("respond-async, wait=10; foo=bar", 10),
        ("wait=31", 30),
        ("wait=999999999999999999999", 30),
        ("wait=0", 0),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait", None),
        ("await=5", None),
        ("wait=٣", None),
    ],
)
def test_a_wish_to_wait_is_understood_or_ignored(sent, seconds):
    headers = CIMultiDictProxy(CIMultiDict([("Prefer", "other"), ("Prefer", sent)]))
    assert preferred_wait_s(headers) == seconds
