"""Do the workers on the event stream tell of the demo's orders? Asks the gateway, as staff."""

import json
import sys
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

WITHIN_S = 90.0
STAFF = {"email": "staff@example.com", "password": "staff-demo-password"}


def ask(url: str, token: str = "", body: object = None) -> dict:
    headers = {"Content-Type": "application/json"} | (
        {"Authorization": f"Bearer {token}"} if token else {}
    )
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, headers), timeout=10.0) as answer:
        return json.load(answer)


def told(url: str, token: str) -> str | None:
    """What is missing; nothing once every saga has ended, some in each way."""
    try:
        overview = ask(f"{url}/api/insight/overview", token)
    except HTTPError as error:
        return f"status {error.code}"
    day = overview["windows"]["1d"]
    ended = day["completed"] + day["compensated"]
    if day["completed"] and day["compensated"] and ended == day["started"]:
        return None
    return json.dumps(day)


url = sys.argv[1]
token = ask(f"{url}/api/sessions", body=STAFF)["access_token"]
end = time.monotonic() + WITHIN_S
while missing := told(url, token):
    if time.monotonic() > end:
        sys.exit(f"streamed: {missing}")
    time.sleep(1.0)
