"""Personas and numbers as the API takes and gives them."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from control.fields import Slug, Text
from control.personas.document import served
from control.personas.numbers import Number, Share
from control.personas.store import Stored, Version


class PersonaOut(BaseModel):
    """A persona as it is now; `persona` is as it was written."""

    slug: str
    version: int
    persona_name: str
    persona: dict[str, Any]
    numbers: list[str]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, stored: Stored) -> Self:
        name = served(stored.body, stored.slug, stored.version)["persona_name"]
        return cls(
            slug=stored.slug,
            version=stored.version,
            persona_name=name,
            persona=stored.body,
            numbers=stored.numbers,
            created_at=stored.created_at,
            updated_at=stored.updated_at,
        )


class PersonaPage(BaseModel):
    """`next` is the cursor of the following page; null on the last one."""

    personas: list[PersonaOut]
    next: str | None


class VersionOut(BaseModel):
    version: int
    persona: dict[str, Any]
    created_at: datetime
    created_by: str

    @classmethod
    def of(cls, one: Version) -> Self:
        return cls(version=one.version, persona=one.body, created_at=one.created_at, created_by=one.created_by)


class VersionPage(BaseModel):
    slug: str
    versions: list[VersionOut]
    next: int | None


class VariantOut(BaseModel):
    """A persona and its weight against the other variants."""

    persona: Slug
    weight: float = Field(1.0, gt=0, le=1_000_000)


class NumberIn(BaseModel):
    """Either `persona`, or `campaign` and `variants`."""

    model_config = ConfigDict(extra="forbid")

    persona: Slug | None = None
    campaign: Annotated[Text, Field(min_length=1, max_length=100)] | None = None
    variants: list[VariantOut] | None = Field(None, min_length=1, max_length=20)

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.persona is None) == (self.variants is None) or (self.variants is None) != (self.campaign is None):
            raise ValueError("give `persona`, or `campaign` with `variants`")
        return self

    def shares(self) -> list[Share]:
        if self.variants is None:
            return [Share(str(self.persona))]
        return [Share(variant.persona, variant.weight) for variant in self.variants]


class NumberOut(BaseModel):
    number: str
    persona: str | None
    campaign: str | None
    variants: list[VariantOut]
    updated_at: datetime

    @classmethod
    def of(cls, one: Number) -> Self:
        alone = one.campaign is None
        return cls(
            number=one.number,
            persona=one.shares[0].persona if alone else None,
            campaign=one.campaign,
            variants=[] if alone else [VariantOut(persona=s.persona, weight=s.weight) for s in one.shares],
            updated_at=one.updated_at,
        )


class NumberPage(BaseModel):
    numbers: list[NumberOut]
    next: str | None


class AnsweringPersona(BaseModel):
    """The persona's own fields, and who it is."""

    model_config = ConfigDict(extra="allow")

    persona_name: str
    slug: str
    version: str


class AnsweringVariant(BaseModel):
    weight: float
    persona: AnsweringPersona


class AnsweringCampaign(BaseModel):
    """Several personas share the number; a hash of campaign and caller settles which one answers."""

    campaign: str
    variants: list[AnsweringVariant]
