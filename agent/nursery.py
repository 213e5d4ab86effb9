"""The nursery: the process that job processes are forked from, which has loaded all that a call needs.

It is begun before the worker loads its own modules, so that both load at once. What job processes find in their
environment has to be there before.
"""

import os
import signal
import ssl
from multiprocessing import forkserver
from pathlib import Path
from uuid import uuid4

import certifi

from switchboard.settings import Settings

# How job processes find the worker's lifelines.
LIFELINE = "WORKER_LIFELINE"
LOADED = (
    "agent.preload",
    "livekit.agents.ipc._preload",
    # The last: it freezes what the others have loaded.
    "livekit.agents.ipc._preload_freeze",
)


def begin(settings: Settings) -> None:
    """To be called once, before anything is forked. Its end is that of the last process that it serves."""
    os.environ["LIVEKIT_URL"] = settings.livekit_url
    os.environ["LIVEKIT_API_KEY"] = settings.livekit_api_key
    os.environ["LIVEKIT_API_SECRET"] = settings.livekit_api_secret.get_secret_value()
    os.environ[LIFELINE] = f"switchboard-{uuid4().hex}"
    # The end-of-turn weights of LiveKit are not used here, and would take 108 MB.
    os.environ.setdefault("LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE", "0")
    if not _trusts_anybody():
        os.environ["SSL_CERT_FILE"] = certifi.where()
    # Inherited: an interrupt from the keyboard is the worker's to act on.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.set_forkserver_preload(list(LOADED))
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)


def _trusts_anybody() -> bool:
    """Whether certificates of authorities are found, by Python and by the media stack."""
    if os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"):
        return True
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile) or bool(paths.capath and any(Path(paths.capath).iterdir()))
