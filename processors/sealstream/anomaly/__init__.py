"""Watches the stream: rolls a chain's entries up into activity, and finds in it what is unusual."""
