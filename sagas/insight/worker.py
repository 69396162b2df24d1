"""A Faust worker's own web views, and how it runs until it is told to stop."""

from __future__ import annotations

import logging
from typing import Any

import faust

from sagas.insight.shares import SHARE
from sagas.insight.stream import Insight
from sagas.web.auth import Tokens
from sagas.web.problems import Problem

__all__ = ["add_views", "run_worker"]


def add_views(insight: Insight, tokens: Tokens, operator: str) -> None:
    """``/api/insight/share`` for staff, and what every process has: ``/health/…``, ``/metrics``."""
    app: Any = insight.app

    async def share(view: Any, request: Any) -> Any:
        try:
            principal = tokens.authenticate(request.headers.get("Authorization", ""))
        except Problem as problem:
            return view.json({"code": problem.code}, status=problem.status)
        if principal.role != operator:
            return view.json({"code": "forbidden"}, status=403)
        return view.json(insight.share())

    async def live(view: Any, request: Any) -> Any:
        return view.json({"status": "live"})

    async def ready(view: Any, request: Any) -> Any:
        told = insight.readiness()
        return view.json(told, status=503 if told["status"] == "unavailable" else 200)

    async def metrics(view: Any, request: Any) -> Any:
        return view.text("\n".join(insight.metrics()) + "\n")

    app.page(SHARE)(share)
    app.page("/health/live")(live)
    app.page("/health/ready")(ready)
    app.page("/metrics")(metrics)


def run_worker(insight: Insight) -> None:
    """Run in the foreground until Ctrl-C or SIGTERM. Ends the process."""
    # What these have to say of every rebalance is for their own developers.
    for name in ("aiokafka", "faust", "mode", "kafka"):
        logging.getLogger(name).setLevel(logging.ERROR)
    worker = faust.Worker(
        insight.app, loglevel="WARN", override_logging=False, redirect_stdouts=False, quiet=True
    )
    worker.execute_from_commandline()
