"""Forwards alerts and entries to other systems: webhooks, SIEMs, mail."""
