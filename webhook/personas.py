"""From a dialed number to a persona: the Persona API, what Redis remembers of it, and the default one.

A fresh persona is used without a request. An older one waits 250 ms for the API and is then served, while
the request goes on behind and refreshes it. Without one the API has 800 ms in all; then the default
persona answers. While Redis is away, what this process itself remembers stands for it.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import structlog
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from switchboard.dispatch import PersonaSource
from switchboard.number import normalise
from switchboard.outbound import Outbound, OutboundError, TooLarge
from switchboard.persona import MAX_BYTES
from webhook.call import Call, cleaned
from webhook.metrics import Metrics
from webhook.store import Store

log = structlog.get_logger(__name__)

FRESH_S = 60.0
STALE_WAITS_S = 0.25
NONE_WAITS_S = 0.8
# A call that was held up before, by Redis, gives the API this long all the same.
AT_LEAST_S = 0.4
# A look-up that nobody waits for any longer still fills the cache within this time.
REQUEST_S = 5.0
REACH_S = 0.8
MAX_LOOKUPS = 256
# Answers as text that a process remembers, in characters.
MAX_MEMORY = 16 * 1024 * 1024

Answer = dict[str, JsonValue]
_ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)


class Cached(BaseModel):
    """An answer of the Persona API in Redis; `at` in seconds since 1970."""

    model_config = ConfigDict(frozen=True)

    at: float
    answer: Answer


class Variant(BaseModel):
    model_config = ConfigDict(frozen=True)

    weight: float = Field(gt=0, le=1e9, allow_inf_nan=False)
    persona: Answer


@dataclass(frozen=True, slots=True)
class Resolved:
    """Who answers a call. `rejected`: why the dialed number is none, when it is none."""

    source: PersonaSource
    persona: Answer
    name: str
    version: str | None
    variant: int | None
    ms: float
    rejected: str | None = None


@dataclass(frozen=True, slots=True)
class NoPersona:
    """The API knows the number to have none (404)."""


class Failed(Exception):
    """No answer, or none that can be used; the text says why."""


@dataclass(frozen=True, slots=True)
class PersonaApi:
    """Where personas are asked for: `{base}/{number}`, with a bearer token when there is one."""

    base: str
    token: str

    async def ask(self, outbound: Outbound, dialed: str) -> Answer | NoPersona:
        """Raises `Failed`."""
        try:
            got = await outbound.request(
                "GET",
                f"{self.base}/{quote(dialed, safe='')}",
                timeout_s=REQUEST_S,
                max_bytes=MAX_BYTES,
                headers=self._headers(),
            )
        except OutboundError as error:
            raise Failed(str(error)) from None
        if got.status == 404:
            return NoPersona()
        if got.status != 200:
            raise Failed(f"status {got.status}")
        return read_answer(got.body)

    async def reach(self, outbound: Outbound) -> None:
        """Raises `Failed` unless the API answers at all; no number is asked for."""
        try:
            got = await outbound.request(
                "GET", self.base, timeout_s=REACH_S, max_bytes=MAX_BYTES, headers=self._headers()
            )
        except TooLarge:
            return
        except OutboundError as error:
            raise Failed(str(error)) from None
        if got.status >= 500:
            raise Failed(f"status {got.status}")

    def _headers(self) -> dict[str, str]:
        given = {"Accept": "application/json"}
        return {**given, "Authorization": f"Bearer {self.token}"} if self.token else given


def read_answer(body: bytes) -> Answer:
    """The JSON object in `body`. Raises `Failed` for anything else, and for one that grows beyond 256 KiB."""
    try:
        answer = _ANSWER.validate_json(body)
        # Short spellings of long numbers grow when written again.
        size = len(_ANSWER.dump_json(answer))
    except (ValidationError, ValueError, RecursionError):
        raise Failed("the body is no JSON object") from None
    if size > MAX_BYTES:
        raise Failed(f"the answer is larger than {MAX_BYTES} bytes")
    if "variants" in answer and not variants_of(answer):
        raise Failed("no variant in it has a weight and a persona")
    return answer


def variants_of(answer: Mapping[str, Any]) -> list[Variant]:
    """The variants of an answer that can be used, in order."""
    given = answer.get("variants")
    found = []
    for one in given if isinstance(given, list) else ():
        try:
            found.append(Variant.model_validate(one))
        except ValidationError:
            continue
    return found


def chosen(variants: list[Variant], campaign: str, caller: str) -> int:
    """The index of the variant that this caller of this campaign always meets."""
    digest = hashlib.sha256(f"{campaign}\n{caller}".encode("utf-8", "replace")).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64 * sum(one.weight for one in variants)
    for index, one in enumerate(variants):
        point -= one.weight
        if point < 0:
            return index
    return len(variants) - 1


class Memory:
    """The latest answers, as text by number; the oldest go."""

    def __init__(self, most: int = MAX_MEMORY) -> None:
        self._most = most
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._size = 0

    def keep(self, number: str, text: str) -> None:
        self.forget(number)
        self._texts[number] = text
        self._size += len(text)
        while self._size > self._most:
            self.forget(next(iter(self._texts)))

    def forget(self, number: str) -> None:
        self._size -= len(self._texts.pop(number, ""))

    def get(self, number: str) -> str | None:
        return self._texts.get(number)


class Personas:
    """Resolves numbers; look-ups are tasks of its own, at most one a number."""

    def __init__(self, api: PersonaApi, outbound: Outbound, store: Store, default: Answer, metrics: Metrics) -> None:
        self._api = api
        self._outbound = outbound
        self._store = store
        self._default = default
        self._metrics = metrics
        self._memory = Memory()
        self._lookups: dict[str, asyncio.Task[Answer | NoPersona]] = {}

    async def of(self, call: Call, *, since: float | None = None) -> Resolved:
        """Who answers the call. Never raises, and takes 0.8 s at most.

        `since`: when the caller arrived, in monotonic seconds; what has passed since then counts.
        """
        began = time.monotonic()
        number = normalise(call.dialed)
        rejected = None if number else "it is no number of at most 32 digits, spaces, dashes and brackets"
        arrived = began if since is None else since
        source, answer = await self._answer(number, call.dialed, arrived) if number else ("default", None)
        ms = (time.monotonic() - began) * 1000
        self._metrics.lookups.labels(source).inc()
        self._metrics.lookup_seconds.observe(ms / 1000)
        if answer is None:
            return _resolved("default", self._default, None, ms, rejected)
        variants = variants_of(answer)
        if not variants:
            return _resolved(source, answer, None, ms)
        campaign = answer.get("campaign")
        index = chosen(variants, campaign if isinstance(campaign, str) else number or "", _caller(call))
        return _resolved(source, variants[index].persona, index, ms)

    async def _answer(self, number: str, dialed: str, arrived: float) -> tuple[PersonaSource, Answer | None]:
        cached = await self._cached(number)
        if cached is not None and 0 <= time.time() - cached.at < FRESH_S:
            return "cache", cached.answer
        left = NONE_WAITS_S - (time.monotonic() - arrived)
        patience = STALE_WAITS_S if cached else max(AT_LEAST_S, left)
        lookup = self._lookup(number, dialed)
        done = (await asyncio.wait([lookup], timeout=patience))[0] if lookup else set()
        if lookup is None or not done or lookup.exception() is not None:
            return ("stale", cached.answer) if cached else ("default", None)
        answer = lookup.result()
        return ("default", None) if isinstance(answer, NoPersona) else ("api", answer)

    async def _cached(self, number: str) -> Cached | None:
        text = await self._store.persona(number)
        if text is None and self._store.away:
            text = self._memory.get(number)
        try:
            cached = Cached.model_validate_json(text) if text else None
        except (ValidationError, RecursionError):
            return None
        if text and cached:
            self._memory.keep(number, text)
        return cached

    def _lookup(self, number: str, dialed: str) -> asyncio.Task[Answer | NoPersona] | None:
        running = self._lookups.get(number)
        if running is not None:
            return running
        if len(self._lookups) >= MAX_LOOKUPS:
            return None
        task = asyncio.create_task(self._asked(number, dialed), name=f"persona {number}")
        self._lookups[number] = task
        task.add_done_callback(lambda done: self._settled(number, done))
        return task

    def _settled(self, number: str, done: asyncio.Task[Answer | NoPersona]) -> None:
        del self._lookups[number]
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            log.warning("persona_lookup_failed", number=number, error=str(error))

    async def _asked(self, number: str, dialed: str) -> Answer | NoPersona:
        answer = await self._api.ask(self._outbound, dialed)
        if isinstance(answer, NoPersona):
            self._memory.forget(number)
            await self._store.forget_persona(number)
            return answer
        text = Cached(at=time.time(), answer=answer).model_dump_json()
        self._memory.keep(number, text)
        await self._store.keep_persona(number, text)
        return answer

    async def close(self) -> None:
        """Ends look-ups that still run."""
        running = list(self._lookups.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=1)


def _caller(call: Call) -> str:
    # A caller who hides the number is a new one each time.
    if call.number is None:
        return str(call.call_id)
    return normalise(call.number) or call.number


def _resolved(
    source: PersonaSource, persona: Answer, variant: int | None, ms: float, rejected: str | None = None
) -> Resolved:
    version = persona.get("version")
    return Resolved(
        source,
        persona,
        _name(persona),
        cleaned(str(version), 64) if isinstance(version, str | int) else None,
        variant,
        ms,
        rejected,
    )


def _name(persona: Answer) -> str:
    names = (persona.get(key) for key in ("persona_name", "personaName", "name"))
    return next((cleaned(name, 200) for name in names if isinstance(name, str) and name), "unnamed")
