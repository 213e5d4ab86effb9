"""Who is blocked by what: numbers in any spelling, beginnings of numbers, callers without a number."""

import json
from collections.abc import Sequence
from uuid import uuid4

import pytest
from pydantic import ValidationError

from switchboard.blocklist import MAX_BYTES, MAX_PATTERNS, Patterns, pattern_of
from webhook.blocklist import Blocked


@pytest.mark.parametrize(
    ("written", "pattern"),
    [
        ("+1 (555) 010-0001", "15550100001"),
        ("0015550100001", "15550100001"),
        (" 15550100001 ", "15550100001"),
        ("+1555*", "1555*"),
        ("001 555 *", "1555*"),
        ("Anonymous", "anonymous"),
        ("000049", "0049"),
    ],
)
def test_spellings_of_a_blocked_caller_are_one_pattern(written: str, pattern: str) -> None:
    assert pattern_of(written) == pattern
    assert Patterns(patterns=(pattern,)).patterns == (pattern,)


@pytest.mark.parametrize(
    "written", ["", "*", "+*", "00*", "1*5", "15**", "alice", "anonymous*", "1" * 33, "1\0", "٣*"]
)
def test_what_blocks_nobody_or_everybody_is_no_pattern(written: str) -> None:
    assert pattern_of(written) is None


@pytest.mark.parametrize(
    ("patterns", "shown", "blocked"),
    [
        (["15550100001"], "+15550100001", True),
        (["15550100001"], "0015550100001", True),
        (["15550100001"], "+1 (555) 010-0001", True),
        (["15550100001"], "+15550100001;phone-context=example.com", True),
        (["15550100001"], "+155501000011", False),
        (["15550100001"], "+1555010000", False),
        (["1555*"], "+1555", True),
        (["1555*"], "001555 0100001", True),
        (["1555*"], "+155", False),
        (["1555*"], "+41555", False),
        (["anonymous"], None, True),
        (["anonymous"], "", True),
        (["anonymous"], "Anonymous", True),
        (["anonymous"], "restricted", True),
        (["anonymous"], "alice", False),
        (["anonymous"], "+15550100001", False),
        (["15550100001", "1555*"], None, False),
        (["15550100001", "1555*"], "anonymous", False),
        ([], "+15550100001", False),
    ],
)
def test_a_caller_is_blocked_by_number_beginning_or_want_of_one(
    patterns: Sequence[str], shown: str | None, blocked: bool
) -> None:
    assert Blocked(patterns).number(shown) is blocked


@pytest.mark.parametrize("shown", ["", "*", "1" * 400, "١٢٣", "+" * 64, "1*", "15*", "\0", "(((("])
def test_what_a_caller_shows_is_never_a_pattern(shown: str) -> None:
    assert not Blocked(["15*", "1234"]).number(shown)


@pytest.mark.parametrize("patterns", [["15550100001", "x"], ["*"], ["15", None], "15", [str(uuid4())], [1]])
def test_a_list_with_something_else_in_it_is_no_list(patterns: object) -> None:
    with pytest.raises(ValidationError):
        Patterns.model_validate_json(json.dumps({"patterns": patterns}))


def test_the_longest_list_fits() -> None:
    longest = Patterns(patterns=tuple(f"{at:032d}*" for at in range(MAX_PATTERNS)))
    assert len(longest.model_dump_json()) < MAX_BYTES
    assert Blocked(longest.patterns).number("1" * 32) is False
