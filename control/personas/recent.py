"""What of a long conversation a persona's model is told: it may last longer than any model remembers."""

import json
from collections.abc import Sequence

from agents import TResponseInputItem

from switchboard.history import MOST_TEXT_IN_ALL


def recent(items: Sequence[TResponseInputItem]) -> list[TResponseInputItem]:
    """The newest items, in order, as long as they are 100,000 characters as JSON together.

    What was written last and whatever came of it stays in any case. A tool's result goes with its call.
    """
    first = _last_written(items)
    left = MOST_TEXT_IN_ALL - sum(map(_length, items[first:]))
    while first > 0 and (left := left - _length(items[first - 1])) >= 0:
        first -= 1
    kept = items[first:]
    called = {one.get("call_id") for one in kept if one.get("type") == "function_call"}
    return [one for one in kept if one.get("type") != "function_call_output" or one.get("call_id") in called]


def _last_written(items: Sequence[TResponseInputItem]) -> int:
    return next((at for at in range(len(items) - 1, -1, -1) if items[at].get("role") == "user"), 0)


def _length(item: TResponseInputItem) -> int:
    return len(json.dumps(item, ensure_ascii=False, default=str))
