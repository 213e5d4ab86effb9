"""Phrases are found as if each pattern were tried on each text."""

import re
from pathlib import Path

import pytest
import yaml

from switchboard.ranking import joining
from switchboard.ranking.phrases import PHRASES

ROOT = Path(__file__).parents[2]


def slowly(said: str) -> str:
    for pattern, name in PHRASES:
        said, found = re.subn(rf"\b(?:{pattern})\b", f" {name} ", said)
        if found:
            said = re.sub(" {2,}", " ", said)
    return said.strip()


@pytest.mark.parametrize("persona", ["harbor-hotel", "maple-dental"])
def test_no_phrase_is_missed(persona: str) -> None:
    found = yaml.safe_load((ROOT / f"prompts/personas/{persona}.yaml").read_text())["facts"]
    asked = yaml.safe_load((ROOT / "tests/data/dev_questions.yaml").read_text())
    texts = [text.lower() for fact in found for text in (fact["say"], *fact["asked"])]
    texts += [row["ask"].lower() for row in asked if row["persona"] == persona]
    assert [text for text in texts if joining.join(text) != slowly(text)] == []
