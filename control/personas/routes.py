"""The Persona API, and the routes by which admins keep personas and numbers."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request, Response
from pydantic import JsonValue, TypeAdapter, ValidationError

from control.access import ADMIN, VIEWER, VIEWER_OR_INTERNAL, Actor, GuardedRoute
from control.db.pool import Connection
from control.errors import BadRequest, Conflict, NotFound, documented
from control.fields import PhoneNumber, Slug, Text
from control.personas import numbers, store
from control.personas.document import DocumentError, checked
from control.personas.numbers import Share
from control.personas.shapes import (
    AnsweringCampaign,
    AnsweringPersona,
    NumberIn,
    NumberOut,
    NumberPage,
    PersonaOut,
    PersonaPage,
    VersionOut,
    VersionPage,
)

_SLUG = TypeAdapter(Slug)
_NUMBERS = TypeAdapter(list[PhoneNumber])
_COMMON = documented(400, 401, 403, 503)
personas_routes = APIRouter(prefix="/personas", tags=["Personas"], route_class=GuardedRoute, responses=_COMMON)
numbers_routes = APIRouter(prefix="/numbers", tags=["Numbers"], route_class=GuardedRoute, responses=_COMMON)

Limit = Annotated[int, Query(ge=1, le=200)]
Dialed = Annotated[str, Path(min_length=1, max_length=256)]
Given = Annotated[
    dict[str, JsonValue],
    Body(
        description="The persona's fields, in either spelling; `numbers` lists numbers that it shall answer.",
        examples=[{"persona_name": "Harbor Hotel", "personality": "You are the front desk.", "voice": "flite:slt"}],
    ),
]


def _slug(value: object) -> str:
    """Raises `BadRequest`; `by-number` would shadow a route."""
    try:
        slug = _SLUG.validate_python(value, strict=True)
    except ValidationError:
        raise BadRequest("slug: must be 1 to 63 small letters, digits and dashes.") from None
    if slug == "by-number":
        raise BadRequest("slug: by-number is the name of a route; take another one.")
    return slug


def _parts_of(given: Mapping[str, Any], slug: str) -> tuple[list[str], dict[str, Any]]:
    """The numbers and the persona in a request. Raises `BadRequest` naming the field."""
    body = {name: value for name, value in given.items() if name not in ("slug", "numbers")}
    if given.get("slug", slug) != slug:
        raise BadRequest("slug: is another one than the address says.")
    try:
        return _NUMBERS.validate_python(given.get("numbers") or []), checked(body)
    except ValidationError:
        raise BadRequest("numbers: must be a list of phone numbers.") from None
    except DocumentError as error:
        raise BadRequest(str(error)) from None


async def _assign(connection: Connection, actor: Actor, slug: str, dialed: Sequence[str]) -> None:
    """Leads numbers to the persona. Raises `Conflict` for one that leads to another persona."""
    for one in dialed:
        try:
            shares = (await numbers.get(connection, one)).shares
        except NotFound:
            await numbers.put(connection, actor, one, [Share(slug)])
            continue
        if [share.persona for share in shares] != [slug]:
            raise Conflict(f"numbers: {one} leads to another persona; PUT /numbers/{{number}} changes that.")


@personas_routes.get(
    "/by-number/{dialed_number}",
    responses=documented(404) | {200: {"model": AnsweringPersona | AnsweringCampaign}},
    response_model=None,
)
async def persona_by_number(
    dialed_number: Dialed, request: Request, _actor: Annotated[Actor, VIEWER_OR_INTERNAL]
) -> dict[str, Any]:
    """Who answers a dialed number, in any spelling of it: the Persona API. 404: nobody does."""
    async with request.app.state.parts.database.session() as connection:
        return await numbers.answering(connection, dialed_number)


@personas_routes.get("")
async def list_personas(
    request: Request,
    _actor: Annotated[Actor, VIEWER],
    cursor: Annotated[Text, Query(max_length=63)] = "",
    limit: Limit = 50,
) -> PersonaPage:
    """Personas by slug."""
    async with request.app.state.parts.database.session() as connection:
        found = await store.listed(connection, after=cursor, limit=limit + 1)
    page = found[:limit]
    return PersonaPage(
        personas=[PersonaOut.of(one) for one in page], next=page[-1].slug if len(found) > limit else None
    )


@personas_routes.post("", status_code=201, responses=documented(409, 413))
async def make_persona(given: Given, request: Request, actor: Annotated[Actor, ADMIN]) -> PersonaOut:
    """Makes a persona. The body holds its `slug` beside its fields."""
    slug = _slug(given.get("slug"))
    dialed, body = _parts_of(given, slug)
    async with request.app.state.parts.database.transaction() as connection:
        await store.make(connection, actor, slug, body)
        await _assign(connection, actor, slug, dialed)
        return PersonaOut.of(await store.get(connection, slug))


@personas_routes.get("/{slug}", responses=documented(404))
async def read_persona(slug: Slug, request: Request, _actor: Annotated[Actor, VIEWER]) -> PersonaOut:
    """One persona as it is now."""
    async with request.app.state.parts.database.session() as connection:
        return PersonaOut.of(await store.get(connection, slug))


@personas_routes.put(
    "/{slug}", responses=documented(409, 413) | {201: {"model": PersonaOut, "description": "It is new."}}
)
async def put_persona(
    slug: Slug, given: Given, request: Request, response: Response, actor: Annotated[Actor, ADMIN]
) -> PersonaOut:
    """Makes a new version of a persona, or the persona when there is none. Calls from now on use it."""
    dialed, body = _parts_of(given, _slug(slug))
    async with request.app.state.parts.database.transaction() as connection:
        if await store.change(connection, actor, slug, body) is None:
            await store.make(connection, actor, slug, body)
            response.status_code = 201
        await _assign(connection, actor, slug, dialed)
        return PersonaOut.of(await store.get(connection, slug))


@personas_routes.delete("/{slug}", status_code=204, responses=documented(404, 409))
async def remove_persona(slug: Slug, request: Request, actor: Annotated[Actor, ADMIN]) -> None:
    """Removes a persona that no number leads to. Its versions stay readable."""
    async with request.app.state.parts.database.transaction() as connection:
        await store.remove(connection, actor, slug)


@personas_routes.get("/{slug}/versions", responses=documented(404))
async def list_versions(
    slug: Slug,
    request: Request,
    _actor: Annotated[Actor, VIEWER],
    cursor: Annotated[int, Query(ge=1, le=2**31 - 1)] = 2**31 - 1,
    limit: Limit = 50,
) -> VersionPage:
    """The versions of a persona, newest first."""
    async with request.app.state.parts.database.session() as connection:
        found = await store.versions(connection, slug, below=cursor, limit=limit + 1)
    if not found and cursor == 2**31 - 1:
        raise store.missing(slug)
    page = [VersionOut.of(one) for one in found[:limit]]
    return VersionPage(slug=slug, versions=page, next=page[-1].version if len(found) > limit else None)


@numbers_routes.get("")
async def list_numbers(
    request: Request,
    _actor: Annotated[Actor, VIEWER],
    cursor: Annotated[str, Query(pattern="^[0-9]{0,32}$")] = "",
    limit: Limit = 50,
) -> NumberPage:
    """Numbers by their digits."""
    async with request.app.state.parts.database.session() as connection:
        found = await numbers.listed(connection, after=cursor, limit=limit + 1)
    page = found[:limit]
    return NumberPage(numbers=[NumberOut.of(one) for one in page], next=page[-1].key if len(found) > limit else None)


@numbers_routes.get("/{number}", responses=documented(404))
async def read_number(number: PhoneNumber, request: Request, _actor: Annotated[Actor, VIEWER]) -> NumberOut:
    """One number, in any spelling of it."""
    async with request.app.state.parts.database.session() as connection:
        return NumberOut.of(await numbers.get(connection, number))


@numbers_routes.put(
    "/{number}", responses=documented(409, 413) | {201: {"model": NumberOut, "description": "It is new."}}
)
async def put_number(
    number: PhoneNumber, body: NumberIn, request: Request, response: Response, actor: Annotated[Actor, ADMIN]
) -> NumberOut:
    """Leads a number to a persona, or to the weighted variants of a campaign."""
    async with request.app.state.parts.database.transaction() as connection:
        if await numbers.put(connection, actor, number, body.shares(), body.campaign):
            response.status_code = 201
        return NumberOut.of(await numbers.get(connection, number))


@numbers_routes.delete("/{number}", status_code=204, responses=documented(404))
async def remove_number(number: PhoneNumber, request: Request, actor: Annotated[Actor, ADMIN]) -> None:
    """Removes a number; the default persona answers it from then on."""
    async with request.app.state.parts.database.transaction() as connection:
        await numbers.remove(connection, actor, number)
