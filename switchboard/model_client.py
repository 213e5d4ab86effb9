"""Connections to model services, which the settings name."""

import ssl
from dataclasses import dataclass
from functools import cache

import httpx2
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from switchboard.endpoints import Endpoint


@dataclass(frozen=True, slots=True)
class Service:
    """A service with its connections."""

    endpoint: Endpoint
    client: AsyncOpenAI


@cache
def trusted_certificates() -> ssl.SSLContext:
    """Loaded once: it takes 0.1 s, in which somebody would wait."""
    return ssl.create_default_context()


def client(one: Endpoint, timeout_s: float) -> AsyncOpenAI:
    """A client of its own for the service, which tries once; `timeout_s` is for each step of it."""
    http = DefaultAsyncHttpxClient(
        verify=trusted_certificates(),
        timeout=timeout_s,
        limits=httpx2.Limits(keepalive_expiry=120),
        trust_env=False,
    )
    return AsyncOpenAI(base_url=one.base_url, api_key=one.api_key, max_retries=0, http_client=http)
