"""The documents of every process, made without one: what the tests of the contract go through."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.app import create_gateway
from gateway.documents import composed
from gateway.settings import SERVICE_PORTS, GatewaySettings
from participants.host import Host, ServiceHost
from participants.services import SERVICES
from participants.settings import ShopSettings
from participants.tracking import TrackerHost
from sagas.brokers.embedded import EmbeddedBroker
from sagas.system import SystemClock, SystemIds
from sagas.testing.memory import MemoryDatabase
from sagas.web.openapi import document
from sagas.web.operations import operations

SECRET = "a secret of at least thirty-two characters"
WRITING = ("post", "put", "patch", "delete")


@dataclass(frozen=True)
class Place:
    """Somewhere that a client can put a value: a parameter, or a field of the body."""

    method: str
    path: str
    #: "path", "query", "header" or "body".
    where: str
    #: A name; of a body its place, as a tuple of names and numbers.
    name: Any
    schema: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.where} {self.name}"


def applications() -> dict[str, web.Application]:
    """One of every process, not running."""
    settings = ShopSettings(jwt_secret=SECRET)
    clock, ids = SystemClock(), SystemIds()
    urls = {name: (f"http://127.0.0.1:{port}",) for name, port in SERVICE_PORTS.items()}

    async def make() -> dict[str, web.Application]:
        broker = EmbeddedBroker()
        hosts: list[Host] = [
            ServiceHost(
                service,
                settings,
                store=MemoryDatabase().store(service.name),
                broker=broker,
                clock=clock,
                ids=ids,
            )
            for service in SERVICES
        ]
        store = MemoryDatabase().store("tracker")
        hosts.append(TrackerHost(settings, store=store, broker=broker, clock=clock, ids=ids))
        made = {host.name: host.application() for host in hosts}
        edge = GatewaySettings(jwt_secret=SECRET, upstreams=urls)
        return {"gateway": create_gateway(edge, clock, ids), **made}

    return asyncio.run(make())


def document_of(name: str, app: web.Application) -> dict[str, Any]:
    return document(name, "", operations(app.router.routes()))


APPLICATIONS = applications()
#: Each process's own; and the one that the gateway shows, of all together.
DOCUMENTS = {name: document_of(name, app) for name, app in APPLICATIONS.items()}
WHOLE = composed(
    DOCUMENTS["gateway"], {name: said for name, said in DOCUMENTS.items() if name != "gateway"}
)


def each(said: Mapping[str, Any] = WHOLE) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of every operation."""
    for path, methods in said["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a reference means."""
    while "$ref" in schema:
        schema = WHOLE["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def body_schema(operation: Mapping[str, Any]) -> Mapping[str, Any] | None:
    body = operation.get("requestBody")
    return None if body is None else resolved(body["content"]["application/json"]["schema"])


def fields(schema: Mapping[str, Any], at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """Every field of a body, however deep: its place and its schema."""
    schema = resolved(schema)
    for choice in schema.get("anyOf", ()):
        yield from fields(choice, at)
    if schema.get("type") == "array":
        yield from fields(schema["items"], (*at, 0))
    for name, field in schema.get("properties", {}).items():
        yield (*at, name), field
        yield from fields(field, (*at, name))


def places() -> Iterator[Place]:
    """Every place of every operation."""
    for method, path, operation in each():
        for parameter in operation["parameters"]:
            where = parameter["in"]
            yield Place(method, path, where, parameter["name"], parameter["schema"])
        if (schema := body_schema(operation)) is not None:
            for at, field in dict(fields(schema)).items():
                yield Place(method, path, "body", at, field)


def first_example(operation: Mapping[str, Any]) -> Any:
    """A body that works, if it takes one."""
    body = operation.get("requestBody")
    if body is None:
        return None
    return next(iter(body["content"]["application/json"]["examples"].values()))["value"]
