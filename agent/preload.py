"""Loaded once where job processes are forked from, so that a call starts with all of it in memory, shared."""

import importlib

from livekit.agents.utils import http_context
from livekit.local_inference import init_vad

from agent import entry, join
from switchboard import model_client
from switchboard.ranking import index

__all__ = ["entry", "join"]

# The client library loads these on first use, on the loop of the call.
LATE_IMPORTS = (
    "anyio._backends._asyncio",
    "anyio.streams.tls",
    "httpcore2._async.http11",
    "httpcore2._backends.anyio",
    "jiter",
    "openai.lib.streaming.chat",
    "openai.pagination",
    "openai.resources.audio.audio",
    "openai.resources.chat.chat",
)

for name in LATE_IMPORTS:
    importlib.import_module(name)
index.load()
init_vad()
model_client.trusted_certificates()
# The library's own, for LiveKit's API: it would be made as the call ends, when its slot is waited for.
http_context._create_ssl_context()
