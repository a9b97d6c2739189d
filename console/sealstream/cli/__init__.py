"""The `sealstream` command. Imports nothing, so that `entry` can explain itself in a bare install."""
