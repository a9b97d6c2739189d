"""The signals of `django.contrib.auth` as events: `login`, `logout`, and logins that failed as `denied`.

They say more than the request does, which answers a wrong password with a page and status 200. Whose account was tried
is the resource; nobody has shown yet who asks, so a failed login's actor is what is bound, else anonymous.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed

from sealstream.integrations.django.configuration import audit_client
from sealstream.integrations.requests import tell_actor

__all__ = ["connect"]

_ACCOUNT = "user_account"


def connect() -> None:
    """Once for the process; a second time changes nothing."""
    user_logged_in.connect(_logged_in, dispatch_uid="sealstream.login")
    user_logged_out.connect(_logged_out, dispatch_uid="sealstream.logout")
    user_login_failed.connect(_failed, dispatch_uid="sealstream.login_failed")


def _logged_in(sender: Any, request: Any, user: Any, **_more: Any) -> None:
    from sealstream.integrations.django.middleware import user_actor

    if request is not None and getattr(request, "user", None) == user:
        tell_actor(user_actor(request))
    audit_client().emit("login", resource_type=_ACCOUNT, resource_id=user.pk, actor_id=user.pk, actor_type=_type(user))


def _logged_out(sender: Any, request: Any, user: Any, **_more: Any) -> None:
    if user is not None:  # nobody was logged in
        pk, kind = user.pk, _type(user)
        audit_client().emit("logout", resource_type=_ACCOUNT, resource_id=pk, actor_id=pk, actor_type=kind)


def _failed(sender: Any, credentials: dict[str, Any], **_more: Any) -> None:
    name = credentials.get(get_user_model().USERNAME_FIELD) or credentials.get("username") or "-"
    audit_client().emit("login", resource_type=_ACCOUNT, resource_id=str(name)[:256] or "-", result="denied")


def _type(user: Any) -> Any:
    return "admin" if getattr(user, "is_staff", False) else "user"
