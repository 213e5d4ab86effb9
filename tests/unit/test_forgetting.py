"""The ledger of what was forgotten as a file, and which spellings are one caller."""

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from control.forgetting import elsewhere, ledger
from control.forgetting.elsewhere import Conversation
from control.forgetting.ledger import Entry, Ledger
from control.forgetting.told import Told, digits_of
from switchboard import outbox
from switchboard.settings import SettingsError


def entry() -> Entry:
    return Entry(receipt=uuid4(), asked_at=datetime.now(UTC), asked_by="ann", number="ab" * 32)


@pytest.mark.parametrize(
    "spelled",
    ["+49 171 1234567", "00491711234567", "(49) 171/1234567", "sip:+491711234567@host", "TEL:49-171-1234567;ext=1"],
)
def test_a_number_is_one_however_it_is_spelled(spelled: str) -> None:
    assert digits_of(spelled) == "491711234567"


@pytest.mark.parametrize("none", ["", "alice", "sip:alice@491711234567", "anonymous", "49171x", "sip:@host"])
def test_what_is_no_number_is_no_caller_to_forget(none: str) -> None:
    assert digits_of(none) is None


def test_a_ledger_keeps_its_key_and_what_it_was_given_for_its_owner_alone(tmp_path: Path) -> None:
    first, made = Ledger(tmp_path / "new"), [entry(), entry()]
    first.add(made[:1])
    again = Ledger(tmp_path / "new")
    again.add(made[1:])
    assert first.entries() == again.entries() == made
    assert first.hashes("1") == again.hashes("1") != first.hashes("2")
    path = tmp_path / "new" / ledger.FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert Ledger(tmp_path).hashes("1") != first.hashes("1")


def test_a_line_that_was_cut_short_takes_no_other_with_it(tmp_path: Path) -> None:
    kept, made = Ledger(tmp_path), [entry(), entry()]
    kept.add(made[:1])
    path = tmp_path / ledger.FILE
    with path.open("ab") as file:
        file.write(made[1].model_dump_json().encode()[:40])
    kept.add(made[1:])
    assert kept.entries() == made


def test_two_ledgers_joined_know_what_both_knew(tmp_path: Path) -> None:
    here, there, made = Ledger(tmp_path / "here"), Ledger(tmp_path / "there"), [entry(), entry()]
    here.add(made[:1])
    there.add(made)
    for _ in range(2):
        ledger.join(tmp_path / "here", (tmp_path / "there" / ledger.FILE).read_bytes())
    joined = Ledger(tmp_path / "here")
    assert joined.entries() == made
    assert joined.hashes("1") == [*here.hashes("1"), *there.hashes("1")]
    lines = (tmp_path / "here" / ledger.FILE).read_text().splitlines()
    assert len(lines) == 4 and all(json.loads(line) for line in lines)


def test_a_ledger_knows_its_keys_and_those_that_are_said_to_be_lost(tmp_path: Path) -> None:
    here, there = Ledger(tmp_path / "here"), Ledger(tmp_path / "there")
    here.need([])
    here.need([here.key])
    with pytest.raises(SettingsError, match=rf'{there.key.hex()}"}}; late facts'):
        here.need([here.key, there.key])
    ledger.join(tmp_path / "here", (tmp_path / "there" / ledger.FILE).read_bytes())
    Ledger(tmp_path / "here").need([here.key, there.key])
    ledger.join(tmp_path / "there", f'{{"lost_key": "{here.key.hex()}"}}\n'.encode())
    lost = Ledger(tmp_path / "there")
    lost.need([here.key, there.key])
    assert (lost.key, lost.entries(), len(lost.hashes("1"))) == (there.key, [], 1)


@pytest.mark.parametrize("field", ["conversations", "number", "receipt"])
def test_a_damaged_line_of_a_ledger_is_told_with_what_to_do(tmp_path: Path, field: str) -> None:
    kept = Ledger(tmp_path)
    kept.add([entry()])
    damaged = json.loads(entry().model_dump_json()) | {field: ["xy"] if field == "conversations" else "xy"}
    path = tmp_path / ledger.FILE
    path.write_text(path.read_text() + json.dumps(damaged) + "\n")
    with pytest.raises(SettingsError, match=r"forgotten.jsonl: line 3 is damaged. Put back what it was"):
        Ledger(tmp_path).entries()


async def test_a_line_of_a_file_that_is_kept_aside_meanwhile_is_erased_there(tmp_path: Path) -> None:
    folder = outbox.folder(tmp_path)
    folder.mkdir()
    for name in ("kept", "gone", "stays"):
        (folder / f"{name}.jsonl").write_text('{"call_id": "other"}\n{"call_id": "ann"}\n')
    place = elsewhere.Outbox(tmp_path)
    found = (await place.find([Conversation("ann", ())]))["ann"]
    assert len(found) == 3
    (folder / "kept.jsonl").rename(folder / "kept.unreadable")
    (folder / "gone.jsonl").unlink()
    await place.erase(found)
    for name in ("kept.unreadable", "stays.jsonl"):
        assert (folder / name).read_text().split("\n") == ['{"call_id": "other"}', " " * 18, ""]
    assert await place.find([Conversation("ann", ())]) == {}


def test_what_a_text_tells_is_read_as_far_as_it_can_be() -> None:
    at = datetime(2026, 3, 2, 12, tzinfo=UTC)
    body = {"caller": "sip:+49 171@host"}
    whole = {"conversation_id": "ann", "call_id": "c\0", "at": "2026-03-02T12:00:00Z", "body": body}
    assert Told.of(json.dumps(whole)) == Told(["ann", "c"], "49171", at)
    nothing = Told([], None, datetime(1970, 1, 1, tzinfo=UTC))
    for none in (
        {},
        {"conversation_id": 7, "call_id": "x" * 129, "at": [], "body": {"caller": "alice"}},
        {"body": 1},
    ):
        assert Told.of(json.dumps(none)) == nothing
    early = Told.of('{"at": "0001-01-01T00:00:00+14:00", "conversation_id": "\\ud800a"}')
    assert early == Told(["a"], None, nothing.at)
    late = Told.of('{"at": "9999-12-31T23:59:59-14:00"}')
    assert late is not None and late.at.year == 9000
    for text in ("", "{", "[]", "7", "[" * 100_000, "{'a': 1}"):
        assert Told.of(text) is None


def test_a_ledger_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / ledger.FILE).mkdir()
    with pytest.raises(SettingsError, match=r"forgotten.jsonl cannot be used .*: make SWITCHBOARD_HOME writable"):
        Ledger(tmp_path)
