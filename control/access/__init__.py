"""Who asks, and whether they may: users by browser session or key, and the installation's internal token."""

from control.access.actor import Actor, Role
from control.access.guard import (
    ADMIN,
    INTERNAL,
    LISTENER,
    OPERATOR,
    PUBLIC,
    VIEWER,
    VIEWER_OR_INTERNAL,
    GuardedRoute,
    Needs,
    Open,
    declared,
)
from control.access.trail import audit

__all__ = [
    "ADMIN",
    "INTERNAL",
    "LISTENER",
    "OPERATOR",
    "PUBLIC",
    "VIEWER",
    "VIEWER_OR_INTERNAL",
    "Actor",
    "GuardedRoute",
    "Needs",
    "Open",
    "Role",
    "audit",
    "declared",
]
