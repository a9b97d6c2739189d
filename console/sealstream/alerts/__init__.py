"""Alerts as people work them off: what was raised, who looks into it, how it was judged, what is muted.

All of it is read from the chain's statements; nothing is kept beside them.
"""

from sealstream.alerts.book import ACTIONS, Book, Case, Incident, Judgement, Mute, fold

__all__ = ["ACTIONS", "Book", "Case", "Incident", "Judgement", "Mute", "fold"]
