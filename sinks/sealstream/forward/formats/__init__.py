"""How each kind of receiver wants a message: pure functions from a message to bytes, one kind a module."""
