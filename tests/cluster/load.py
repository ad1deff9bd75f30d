"""Clients that never stop asking while a test breaks something, and remember what they were told.

None of them retries: what was not answered in time was not answered, and the next request is another one.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx
import yaml

EVERY = 0.1  # seconds
MISSED = (httpx.HTTPError, httpx.InvalidURL, OSError)


@dataclass
class Answers:
    """What a client was told: when it was answered as it should be, and what else it got instead."""

    started: float = field(default_factory=time.monotonic)
    good: list[float] = field(default_factory=list)
    """When, in seconds since the start."""
    bad: list[tuple[float, str]] = field(default_factory=list)
    """When it asked, and what came of it."""
    marks: list[tuple[float, str]] = field(default_factory=list)

    def now(self) -> float:
        return time.monotonic() - self.started

    def longest_outage(self, since: float = 0.0) -> float:
        """Seconds between two good answers in a row, the longest that ended after ``since``; the end counts as one."""
        times = [0.0, *self.good, self.now()]
        return max((b - a for a, b in itertools.pairwise(times) if b >= since), default=0.0)

    def told(self) -> str:
        """For people: how many were answered, the longest outage, and each kind of failure once."""
        kinds: dict[str, int] = {}
        for _, what in self.bad:
            kinds[what] = kinds.get(what, 0) + 1
        failures = "; ".join(f"{count} x {what}" for what, count in kinds.items())
        outage = self.longest_outage()
        return f"{len(self.good)} answered, {len(self.bad)} not ({failures or '-'}); longest outage {outage:.1f} s"


class Client:
    """Calls ``ask`` every 100 ms in a thread of its own. It returns "" when all was well, else what was not."""

    def __init__(self, ask: Callable[[int], str]) -> None:
        self.answers = Answers()
        self._ask = ask
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            began = self.answers.now()
            try:
                wrong = self._ask(number)
            except MISSED as error:
                wrong = type(error).__name__
            if wrong:
                self.answers.bad.append((began, wrong))
            else:
                self.answers.good.append(self.answers.now())
            number += 1
            self._stop.wait(max(0.0, EVERY - (self.answers.now() - began)))


@contextlib.contextmanager
def api_client(kubeconfig: str, timeout: float = 1.0) -> Iterator[httpx.Client]:
    """A client of the API with the access that a kubeconfig gives; its key is in a file for as long as it takes."""
    config = yaml.safe_load(kubeconfig)
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    trust = ssl.create_default_context(
        cadata=base64.b64decode(cluster["certificate-authority-data"]).decode(),
    )
    descriptor, path = tempfile.mkstemp()  # 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            for key in ("client-certificate-data", "client-key-data"):
                file.write(base64.b64decode(user[key]) + b"\n")
        trust.load_cert_chain(path)
    finally:
        os.unlink(path)
    with httpx.Client(base_url=cluster["server"], verify=trust, timeout=timeout, trust_env=False) as client:
        yield client


class Ledger(Client):
    """Writes an entry of a ConfigMap, reads the ConfigMap, and does not forget which writes were acknowledged."""

    def __init__(self, api: httpx.Client, name: str) -> None:
        super().__init__(self._turn)
        self._api = api
        self._path = f"/api/v1/namespaces/default/configmaps/{name}"
        self.acknowledged: list[str] = []
        self.lost: list[str] = []
        """Acknowledged writes that a later read did not show."""
        made = api.post(
            "/api/v1/namespaces/default/configmaps", json={"metadata": {"name": name}, "data": {"made": "yes"}}
        )
        made.raise_for_status()

    def _turn(self, number: int) -> str:
        key = f"w{number:06d}"
        written = self._api.patch(
            self._path,
            json={"data": {key: "yes"}},
            headers={"Content-Type": "application/merge-patch+json"},
        )
        if written.status_code != 200:
            return f"write: {written.status_code} {_message(written)}"
        self.acknowledged.append(key)
        read = self._api.get(self._path)
        if read.status_code != 200:
            return f"read: {read.status_code} {_message(read)}"
        self._compare(read.json()["data"])
        return ""

    def _compare(self, data: dict[str, str]) -> None:
        self.lost += [key for key in self.acknowledged if key not in data and key not in self.lost]

    def finish(self) -> None:
        """Compare once more, after the client has stopped."""
        read = self._api.get(self._path)
        read.raise_for_status()
        self._compare(read.json()["data"])


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json().get("message", ""))[:80]
    except ValueError:
        return response.text[:80].strip()


def web_client(url: str, timeout: float = 2.0) -> Client:
    """Fetches a page, with a new connection each time."""

    def ask(number: int) -> str:
        answer = httpx.get(url, timeout=timeout, trust_env=False)
        return "" if answer.status_code == 200 else str(answer.status_code)

    return Client(ask)
