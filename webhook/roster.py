"""The live calls on record, shared by all webhook processes in Redis, so that each is closed once it ended."""

from collections.abc import Iterable, Mapping
from uuid import UUID

import structlog
from pydantic import ValidationError

from webhook.call import Call
from webhook.store import MAX_CALLS, Store

log = structlog.get_logger(__name__)

MAX_ENTRY = 32 * 1024


class Roster:
    """This process's view; what Redis has not taken yet is tried again at each `refresh`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._calls: dict[UUID, Call] = {}
        self._unsaved: set[UUID] = set()
        self._memory = ""

    @property
    def calls(self) -> Mapping[UUID, Call]:
        return self._calls

    async def add(self, call: Call) -> None:
        """Keeps the call; one that is known keeps the time at which it arrived, in whichever room it is now."""
        known = self._calls.get(call.call_id)
        if known is not None:
            if (known.room, known.room_sid) == (call.room, call.room_sid):
                return
            call = call.model_copy(update={"arrived_at": known.arrived_at})
        elif len(self._calls) >= MAX_CALLS:
            return
        self._calls[call.call_id] = call
        if not await self._store.keep_call(call.call_id, call.model_dump_json()):
            # A refresh that was under way may have dropped it meanwhile.
            self._calls.setdefault(call.call_id, call)
            self._unsaved.add(call.call_id)

    async def refresh(self) -> None:
        """Takes over what the other processes know; without Redis this process's own view stays."""
        for call_id in list(self._unsaved):
            # Others add and remove calls while this waits.
            call = self._calls.get(call_id)
            if call is not None and not await self._store.keep_call(call_id, call.model_dump_json()):
                return
            self._unsaved.discard(call_id)
        known = await self._store.calls()
        # Behind the calls: a Redis that is emptied in between shows here.
        memory = await self._store.memory()
        if known is None or memory is None:
            return
        shared = _read(known)
        if self._memory and memory != self._memory:
            # What Redis lost was not closed by anybody: a call whose caller is gone would never be.
            self._unsaved |= self._calls.keys() - shared.keys()
        self._memory = memory
        unsaved = {call_id: self._calls[call_id] for call_id in self._unsaved if call_id in self._calls}
        self._calls = {**shared, **unsaved}

    async def remove(self, call_ids: Iterable[UUID]) -> None:
        gone = set(call_ids)
        for call_id in gone:
            self._calls.pop(call_id, None)
        self._unsaved -= gone
        await self._store.forget_calls(str(call_id) for call_id in gone)


def _read(known: Mapping[str, str]) -> dict[UUID, Call]:
    calls = {}
    for key, text in known.items():
        call = _call(text)
        if call is None:
            log.warning("roster_entry_skipped", key=key[:64])
        else:
            calls[call.call_id] = call
    return calls


def _call(text: str) -> Call | None:
    if len(text) > MAX_ENTRY:
        return None
    try:
        return Call.model_validate_json(text)
    except ValidationError:
        return None
