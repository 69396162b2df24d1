"""``Idempotency-Key``: the same request twice is one request (after Stripe and the IETF draft).

A claim is stored *before* the handler runs, with the ``operation_id`` that the handler gives to
what it creates. If the process dies in between, whoever repeats the request takes the claim over,
with the same ``operation_id``: a handler that is idempotent by it creates nothing twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import orjson
from aiohttp import web

from sagas.ports import Clock, Ids, Store
from sagas.web.auth import require
from sagas.web.body import read_body
from sagas.web.claims import COLLECTION, Answer, Claim, Claims, in_progress, reused
from sagas.web.context import context_of
from sagas.web.problems import Problem, problem_of, problem_response, validation_failed
from sagas.web.state import SETTINGS

__all__ = ["ANY_ANSWER", "Idempotency"]

#: For ``forget``: whatever the answer, it is not kept.
ANY_ANSWER: Final = frozenset(range(200, 300))

#: What an answer repeats besides its body; all others belong to the single request.
KEPT_HEADERS = ("Content-Type", "Location", "ETag", "Preference-Applied")

_KEY = re.compile(r"[\x21-\x7e]{1,255}")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: How a request ended, for those who wait for it in this process. ``None``: nobody knows, try.
_Ending = Answer | Problem | None


@dataclass(frozen=True, slots=True)
class _Running:
    fingerprint: str
    ending: asyncio.Future[_Ending]


class Idempotency:
    """Wraps handlers of POST routes: ``router.add_post("/api/orders", idempotent(place_order))``.

    Scoped to caller and route. A 2xx answer is kept for 24 h. A refusal (4xx) frees the key at
    once. After anything else (5xx, a cancelled request) nobody knows what was done: the claim
    stays, free to be taken over by the same request with the same ``operation_id``.
    Whoever owns the store lets ``Store.expire`` run over ``COLLECTION`` now and then.

    Of a request only a fingerprint is stored, keyed by ``secret``: a body may hold a password, and
    a plain hash of it could be guessed at. Give every process of a service the same one; what was
    stored under one of the ``others`` (a secret being replaced) is known again.
    """

    COLLECTION: Final = COLLECTION

    def __init__(
        self,
        store: Store,
        clock: Clock,
        ids: Ids,
        *,
        secret: str = "",
        others: Sequence[str] = (),
        wait_s: float = 10.0,
        lease_s: float = 10.0,
    ) -> None:
        # A key of its own, so that what the secret is otherwise used for stays apart.
        self._fingerprint_keys = [
            hmac.digest(each.encode(), b"idempotency fingerprint", "sha256")
            for each in (secret, *others)
        ]
        self._claims = Claims(store, clock, ids, wait_s=wait_s, lease_s=lease_s)
        self._ids = ids
        self._wait_s = wait_s
        self._running: dict[str, _Running] = {}
        self._cleaning: set[asyncio.Task[None]] = set()

    def __call__(
        self,
        handler: Handler,
        *,
        role: str | None = None,
        public: bool = False,
        forget: frozenset[int] = frozenset(),
    ) -> Handler:
        """The handler, once per key. Unless ``public``, the caller must be known (and ``role``).

        That is checked here, before anything is stored: strangers must not fill the store.
        ``forget`` names statuses whose answers are secret or personal: only what was done is
        stored: a repeat runs the handler again, with the same ``operation_id``.
        """

        async def once(request: web.Request) -> web.StreamResponse:
            if not public:
                require(request, role)
            sent = request.headers.getall("Idempotency-Key", None)
            if sent is None:
                context_of(request).operation_id = self._ids.new()
                return await handler(request)
            if len(sent) > 1 or not _KEY.fullmatch(sent[0]):
                fault = {"pointer": "", "detail": "Idempotency-Key: 1 to 255 visible ASCII signs"}
                raise validation_failed(fault)
            fingerprints = await self._fingerprints(request)
            key = _scope(request, sent[0])
            return await self._share(request, handler, key, fingerprints, forget)

        return once

    async def _share(
        self,
        request: web.Request,
        handler: Handler,
        key: str,
        fingerprints: Sequence[str],
        forget: frozenset[int],
    ) -> web.StreamResponse:
        """Of equal requests in this process one runs, and the others wait for its ending."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait_s
        while (running := self._running.get(key)) is not None:
            if running.fingerprint != fingerprints[0]:
                raise reused()
            try:
                async with asyncio.timeout_at(deadline):
                    ended = await asyncio.shield(running.ending)
            except TimeoutError:
                raise in_progress() from None
            if isinstance(ended, Answer):
                return ended.response()
            if isinstance(ended, Problem):
                return problem_response(ended, request)
        ending: _Ending = None
        running = _Running(fingerprints[0], loop.create_future())
        self._running[key] = running
        try:
            claim = await self._claims.claim(key, fingerprints)
            if claim.answer is not None:
                ending = claim.answer
                return ending.response()
            context_of(request).operation_id = claim.operation_id
            run = self._run_again if claim.finished else self._run
            response, ending = await run(request, handler, claim, forget)
            return response
        except Exception as error:
            ending = _problem(error, request)
            if ending is error:
                raise
            raise ending from error
        finally:
            del self._running[key]
            running.ending.set_result(ending)

    async def _run(
        self, request: web.Request, handler: Handler, claim: Claim, forget: frozenset[int]
    ) -> tuple[web.Response, _Ending]:
        try:
            response = await handler(request)
            answer = _answer_of(response)
        except asyncio.CancelledError:
            self._clean(claim, refused=False)
            raise
        except Exception as error:
            problem = _problem(error, request)
            await asyncio.shield(self._clean(claim, refused=problem.status < 500))
            if problem is error:
                raise
            raise problem from error
        assert isinstance(response, web.Response)  # _answer_of saw to it
        if 200 <= answer.status < 300:
            kept = None if answer.status in forget else answer
            await self._claims.keep(replace(claim, finished=True, answer=kept))
        else:
            await asyncio.shield(self._clean(claim, refused=answer.status < 500))
        return response, answer

    async def _run_again(
        self, request: web.Request, handler: Handler, _claim: Claim, _forget: frozenset[int]
    ) -> tuple[web.Response, _Ending]:
        """It was done, but its answer was not kept: the handler finds what it did and says so."""
        response = await handler(request)
        answer = _answer_of(response)
        assert isinstance(response, web.Response)  # _answer_of saw to it
        if 200 <= answer.status < 300:
            response.headers["Idempotent-Replayed"] = "true"
        return response, answer

    async def _fingerprints(self, request: web.Request) -> Sequence[str]:
        body = await read_body(request)
        said = request.rel_url.raw_path_qs.encode() + b"\n" + body
        return [hmac.digest(key, said, "sha256").hex() for key in self._fingerprint_keys]

    def _clean(self, claim: Claim, *, refused: bool) -> asyncio.Task[None]:
        """Free the key (refused), or only the claim. A task: a cancelled request cannot wait."""
        task = asyncio.ensure_future(self._claims.let_go(claim, refused))
        self._cleaning.add(task)
        task.add_done_callback(self._cleaning.discard)
        return task


# ------------------------------------------------------------------------------------ the parts


def _scope(request: web.Request, key: str) -> str:
    principal = context_of(request).principal
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else request.path
    caller = None if principal is None else principal.subject
    return hashlib.sha256(orjson.dumps([caller, request.method, route, key])).hexdigest()


def _problem(error: Exception, request: web.Request) -> Problem:
    statuses = request.app[SETTINGS].statuses
    return problem_of(error, statuses, context_of(request).request_id)


def _answer_of(response: web.StreamResponse) -> Answer:
    if not isinstance(response, web.Response) or not isinstance(response.body or b"", bytes):
        raise TypeError("an idempotent route must answer with a web.Response and a body of bytes")
    headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    body = response.body if isinstance(response.body, bytes) else b""
    return Answer(response.status, headers, body)
