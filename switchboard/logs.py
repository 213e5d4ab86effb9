"""Log lines of every process: one JSON object (or a coloured line on a terminal) per event, no secrets.

Of phone numbers the last two digits are shown: rooms and participants of a SIP server are named after callers.
"""

import logging
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import structlog

SECRET_KEYS = re.compile(r"secret|token|password|authorization|api_?key|cookie", re.IGNORECASE)
SECRET_TEXT = re.compile(
    r"(?i)(?:(?<=bearer\s)\S+|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|\bsk-[\w-]{8,})"
)
# As people write them with a plus, and as a part of a name: of a plain run of digits nothing tells what it counts.
PHONE_NUMBER = re.compile(r"(?:\+|(?<=_)|(?<=sip:)|(?<=tel:))\d{5,13}(?=\d{2}(?!\w|\.\d)|\d{2}_)")
MAX_TEXT = 2_000
# LiveKit's client says it, at the root, of each text of another one in the room that nobody here asked for.
NO_TROUBLE = "ignoring text stream with topic"


def configure(process: str, *, level: str = "info", json: bool = True) -> None:
    """Sends structlog and the standard library's log lines to standard error, each with `process`."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _named(process),
        redact,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    if level.lower() != "debug":
        handler.addFilter(_is_trouble)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpx2", "httpcore", "openai", "asyncio", "aiohttp.access", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _is_trouble(record: logging.LogRecord) -> bool:
    """Not what LiveKit's client tells of each call. Ours is a dict still, and always told."""
    if isinstance(record.msg, dict):
        return True
    if record.name == "livekit" and record.levelno < logging.WARNING:
        return False
    return NO_TROUBLE not in record.getMessage()


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Replaces values that are secret by their name or shape, and what is long of phone numbers; caps long texts."""
    return {key: _clean(key, value) for key, value in event.items()}


def _clean(key: str, value: Any) -> Any:
    if key.startswith("_"):
        return value
    if SECRET_KEYS.search(key):
        return "***"
    if isinstance(value, str):
        return PHONE_NUMBER.sub("***", SECRET_TEXT.sub("***", value))[:MAX_TEXT]
    if isinstance(value, Mapping):
        return {str(inner): _clean(str(inner), item) for inner, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean("item", item) for item in value]
    return value


def _named(process: str) -> structlog.typing.Processor:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("process", process)
        return event

    return add


def secrets_in(text: str) -> Iterator[str]:
    """What in `text` has the shape of a secret; for tests that scan logs."""
    yield from (found.group(0) for found in SECRET_TEXT.finditer(text) if found.group(0) != "***")
