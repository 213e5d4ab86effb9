"""Loaded once where job processes are forked from, so that a call starts with all of it in memory, shared."""

import importlib

from livekit.local_inference import init_vad

from agent import call, facts, models

__all__ = ["call"]

# The client library loads these on first use, on the loop of the call.
LATE_IMPORTS = (
    "openai.pagination",
    "openai.resources.audio.speech",
    "openai.resources.audio.transcriptions",
    "openai.resources.chat.completions",
)

for name in LATE_IMPORTS:
    importlib.import_module(name)
facts.load()
init_vad()
models.trusted_certificates()
