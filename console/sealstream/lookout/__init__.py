"""The lookout: looks at the pipeline itself, again and again, and raises alerts like the watch over what people do."""

from sealstream.lookout.looking import Looked, OfStatements, Seen, of_sinks, of_statements, of_the_chain
from sealstream.lookout.process import LogWatch
from sealstream.lookout.raising import Raised, Raising
from sealstream.lookout.states import WatchStates

__all__ = [
    "LogWatch",
    "Looked",
    "OfStatements",
    "Raised",
    "Raising",
    "Seen",
    "WatchStates",
    "of_sinks",
    "of_statements",
    "of_the_chain",
]
