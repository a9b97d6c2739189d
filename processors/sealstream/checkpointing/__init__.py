"""Checkpointing: reads what was committed, checks every entry, grows the Merkle tree, signs. Holds the chain's key."""

from sealstream.checkpointing.checkpointing import Checkpointing
from sealstream.checkpointing.keys import create_key, load_signer
from sealstream.checkpointing.running import Pace

__all__ = ["Checkpointing", "Pace", "create_key", "load_signer"]
