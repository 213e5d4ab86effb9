"""Two agents that share conversations, in a program of your own.

    DATABASE_URL=postgresql://… OPENAI_API_KEY=… SHOP_KEYS=red=secret-1,blue=secret-2 \\
        uvicorn --app-dir docs/examples --timeout-graceful-shutdown 5 shop:app

The host decides who may: here each key has a name, and a conversation belongs to the name that its id begins with.
"""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import uuid4

from agents import Agent, function_tool, set_default_openai_api, set_tracing_disabled
from fastapi import FastAPI, Header, HTTPException, Request

from control.conversations.agent_router import RunRequest, create_agent_router
from control.conversations.session import DatabaseSession
from control.db.migrate import migrate
from control.db.pool import open_database

set_default_openai_api("chat_completions")
set_tracing_disabled(True)
NAMES = {key: name for name, _, key in (one.partition("=") for one in os.environ["SHOP_KEYS"].split(","))}
if not all(key and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for key, name in NAMES.items()):
    raise SystemExit("SHOP_KEYS: name=key, with commas between; names of letters, digits, _ and -.")


@function_tool
def stock(article: str) -> str:
    """How many of an article are in the shop."""
    return f"There are 12 of {article}."


MODEL = os.environ.get("SHOP_MODEL", "gpt-4.1-mini")
billing = Agent("Billing", instructions="You know about invoices and payments.", model=MODEL)
counter = Agent(
    "Counter",
    instructions="You sell tools. Questions about invoices go to Billing.",
    model=MODEL,
    tools=[stock],
    handoffs=[billing],
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with open_database(os.environ["DATABASE_URL"]) as database:
        async with database.session() as connection:
            await migrate(connection)
        app.state.database = database
        yield


async def session(body: RunRequest, request: Request, x_key: Annotated[str, Header()] = "") -> DatabaseSession:
    """The conversation that is asked for, when it is the asking one's."""
    name = NAMES.get(x_key)
    if name is None:
        raise HTTPException(401, "Send your key as X-Key.")
    if body.session_id is not None and not body.session_id.startswith(f"{name}:"):
        raise HTTPException(404, "There is no such conversation.")
    return DatabaseSession(body.session_id or f"{name}:{uuid4()}", request.app.state.database)


app = FastAPI(title="Shop", lifespan=lifespan)
app.include_router(create_agent_router(counter, "/counter", "counter", session))
app.include_router(create_agent_router(billing, "/billing", "billing", session))
