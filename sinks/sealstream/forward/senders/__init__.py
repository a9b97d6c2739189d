"""How messages reach each kind of receiver, and what its answer means. `sender_of` makes the one that a target wants.

A sender keeps a connection and nothing else: what it was given and is not `taken` is given to it again.
"""

from sealstream.forward.senders.making import sender_of
from sealstream.forward.senders.sending import Pause, Prepared, Sender, waiting

__all__ = ["Pause", "Prepared", "Sender", "sender_of", "waiting"]
