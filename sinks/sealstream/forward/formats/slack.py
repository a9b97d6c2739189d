"""Slack's incoming webhooks, and what speaks their form (Mattermost, Rocket.Chat, Discord's `/slack`). Pure.

What strangers wrote (an actor's name) can neither mention anybody nor become a link: `&`, `<` and `>` are escaped, as
Slack's reference on formatting says, and the query is plain text, in which nothing has a meaning.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sealstream.forward.formats.wording import clipped, facts, search_command
from sealstream.forward.messages import Message, link_of
from sealstream.forward.targets import Target

__all__ = ["slack_message"]

_SIGNS = {"low": "⚪", "medium": "🟡", "high": "🟠", "critical": "🔴"}
_BLOCK_CHARACTERS = 2_900  # 3,000 in a section's text
_FIELDS = 10


def slack_message(target: Target, message: Message) -> bytes:
    """A text for notifications, and blocks: the summary, the facts, the query, the link."""
    alert = message.alert
    assert alert is not None
    title = f"{_SIGNS[alert.severity]} *{alert.severity}*: {_escaped(alert.summary)}"
    blocks: list[dict[str, Any]] = [
        _section(title),
        {
            "type": "section",
            "fields": [
                {"type": "mrkdwn", "text": clipped(f"*{name}*\n{_escaped(value)}", 1_900)}
                for name, value in facts(alert)[1 : 1 + _FIELDS]
            ],
        },
    ]
    if alert.query:
        command = clipped(search_command(alert), _BLOCK_CHARACTERS)
        blocks.append({"type": "section", "text": {"type": "plain_text", "text": command, "emoji": False}})
    if link := link_of(target, message):
        blocks.append(_section(f"<{_escaped(link).replace('|', '%7C')}|open>"))
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": f"alert {_escaped(alert.id)}"}]})
    return msgspec.json.encode({"text": clipped(title, _BLOCK_CHARACTERS), "blocks": blocks})


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": clipped(text, _BLOCK_CHARACTERS)}}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("`", "'")
