"""What is known when an agent comes: of a call that it takes over, of a conversation that its call goes on with.

What was said in the call is read where the agent before left it: in Redis, and in the files of facts on this host;
either is enough.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from livekit.agents import llm
from pydantic import JsonValue
from redis.exceptions import RedisError

from agent import history
from agent.history import Earlier
from switchboard import outbox, stream
from switchboard.dispatch import DispatchMetadata
from switchboard.fact import AgentJoined, CallAnswered, Fact, Item, Pauser, RecordingPaused, RecordingResumed
from switchboard.settings import Settings

log = structlog.get_logger(__name__)

# Read while the room is being joined, which takes about as long. As long as nothing at all is known, a second: to
# have forgotten the conversation is worse for the caller.
DEADLINE_S = 0.3
LONGEST_S = 1.0
# How much of a conversation the model is told again.
MOST_ITEMS = 100


@dataclass(frozen=True, slots=True)
class Past:
    """What other agents reported of the call, in the order in which it happened; nothing for a call's first agent.

    `unshipped`: what is in a file, and as far as is known not on its way to the record. `earlier`: what was said in
    the conversation and not in this call; None for a call that is a conversation of its own. `whole`: Redis has
    answered, so that there is no other agent of whom nothing is known.
    """

    facts: tuple[Fact, ...] = ()
    unshipped: tuple[Fact, ...] = ()
    earlier: Earlier | None = None
    whole: bool = True

    @property
    def began(self) -> datetime | None:
        """When the call's first agent began, as far as the facts go back."""
        return min((_since(one) for one in self.facts), default=None)

    @property
    def agents(self) -> int:
        """How many agents have been in the call: fewer than attempts, of which some find no worker."""
        return len({one.body.attempt for one in self.facts if isinstance(one.body, AgentJoined)})

    @property
    def answered(self) -> bool:
        """The caller has heard us already."""
        return any(isinstance(one.body, CallAnswered | Item) for one in self.facts)

    @property
    def talked_s(self) -> float:
        """How long ago the caller first heard us."""
        if not self.answered:
            return 0.0
        since = next((one.at for one in self.facts if isinstance(one.body, CallAnswered)), self.began)
        return max((datetime.now(UTC) - since).total_seconds(), 0.0) if since else 0.0

    @property
    def paused_by(self) -> frozenset[Pauser]:
        """Who has paused the recording and not resumed it."""
        holding: set[Pauser] = set()
        for one in self.facts:
            if isinstance(one.body, RecordingPaused):
                holding.add(one.body.by)
            elif isinstance(one.body, RecordingResumed):
                holding.discard(one.body.by)
        return frozenset(holding)

    @property
    def turns(self) -> int:
        """The caller's turns among the facts; of a very long call only the newest ones are kept."""
        return sum(item.get("role") == "user" for item in self._items)

    @property
    def unanswered(self) -> bool:
        """The caller has said something last, and waits."""
        roles = [item["role"] for item in self._items if "role" in item]
        return roles[-1:] == ["user"]

    @property
    def said(self) -> list[str]:
        """What agents said, as far as it was heard."""
        return [_text(item) for item in self._items if item.get("role") == "assistant"]

    @property
    def _items(self) -> list[Mapping[str, JsonValue]]:
        return [one.body.item for one in self.facts if isinstance(one.body, Item)]

    def chat(self) -> list[llm.ChatItem]:
        """The newest of the conversation for the model; tool calls with their results, or not at all."""
        said = [(one.at, one.body) for one in (self.earlier.items if self.earlier else ())]
        said += [(one.at, one.body) for one in self.facts if isinstance(one.body, Item)]
        items = [_chat_item(body, at) for at, body in sorted(said, key=lambda one: one[0])]
        kept = [item for item in items[-MOST_ITEMS:] if item is not None]
        called = {item.call_id for item in kept if isinstance(item, llm.FunctionCall)}
        whole = called & {item.call_id for item in kept if isinstance(item, llm.FunctionCallOutput)}
        return [item for item in kept if isinstance(item, llm.ChatMessage) or item.call_id in whole]


def _since(one: Fact) -> datetime:
    offset = one.body.offset_s if isinstance(one.body, Item) else None
    return one.at - timedelta(seconds=offset or 0.0)


def _chat_item(body: Item, at: datetime) -> llm.ChatMessage | llm.FunctionCall | llm.FunctionCallOutput | None:
    # The clock of another host may be ahead; what is said from now on has to come behind it.
    item, created = body.item, min(at.timestamp(), time.time())
    kind, call_id = item.get("type"), str(item.get("call_id", ""))
    if kind == "function_call":
        return llm.FunctionCall(
            call_id=call_id, name=str(item.get("name")), arguments=str(item.get("arguments")), created_at=created
        )
    if kind == "function_call_output":
        return llm.FunctionCallOutput(
            call_id=call_id, output=str(item.get("output")), is_error=False, created_at=created
        )
    role: Any = item.get("role")
    if role not in ("user", "assistant"):
        return None
    return llm.ChatMessage(role=role, content=[_text(item)], interrupted=body.interrupted, created_at=created)


def _text(item: Mapping[str, JsonValue]) -> str:
    content = item.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    return " ".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))


async def past(settings: Settings, metadata: DispatchMetadata | None) -> Past:
    """What is known within a short deadline, from as many sources as answer. Never raises."""
    if metadata is None:
        return Past()
    earlier, known = await asyncio.gather(history.earlier(settings, metadata), _of_call(settings, metadata))
    return replace(known, earlier=earlier)


async def _of_call(settings: Settings, metadata: DispatchMetadata) -> Past:
    if metadata.attempt <= 1:
        return Past()
    call_id = metadata.call_id
    sources = [
        asyncio.create_task(_kept(settings.redis_url, call_id), name="recall.redis"),
        asyncio.create_task(asyncio.to_thread(_filed, settings.home, call_id), name="recall.files"),
    ]
    try:
        done, late = await asyncio.wait(sources, timeout=DEADLINE_S)
        if late and not any(task.result() for task in done):
            done, late = await asyncio.wait(sources, timeout=LONGEST_S - DEADLINE_S)
        for task in late:
            log.warning("recall_late", source=task.get_name())
        kept, filed = (task.result() if task.done() else None for task in sources)
    finally:
        for task in sources:
            task.cancel()
    shipped = {one.id for one in kept or []}
    return Past(
        tuple(in_order([*(kept or []), *(filed or [])], metadata.attempt)),
        tuple(in_order((one for one in filed or [] if one.id not in shipped), metadata.attempt)),
        whole=kept is not None,
    )


async def _kept(redis_url: str, call_id: UUID) -> list[Fact] | None:
    """What is in Redis; None when it does not answer."""
    async with stream.connect(redis_url, timeout_s=LONGEST_S) as redis:
        try:
            return await stream.carried(redis, call_id)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("recall_without_redis", error=str(error))
            return None


def _filed(home: Path, call_id: UUID) -> list[Fact]:
    found: list[Fact] = []
    for path in sorted(outbox.folder(home).glob(f"{call_id}-*.jsonl")):
        try:
            found += outbox.facts_in(path)
        except OSError as error:
            # Files whose facts are recorded are cleared away at any time.
            log.warning("recall_without_file", path=path.name, error=str(error))
    return [one for one in found if one.kind in stream.CARRIED and one.call_id == call_id]


def in_order(facts: Iterable[Fact], attempt: int) -> Sequence[Fact]:
    """Each fact once, in the order of time; without what this or a later attempt says of itself."""
    once = {one.id: one for one in facts if not (isinstance(one.body, AgentJoined) and one.body.attempt >= attempt)}
    return sorted(once.values(), key=lambda one: one.at)
