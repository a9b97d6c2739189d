"""Reads settings of any pydantic model from one TOML file and the environment, and remembers where each came from.

`read` tells every fault at once, with its line or its variable. Whoever adds a section to the model gets its variables,
its place in `config show` and its page in the reference without another line.
"""

from sealstream.settings.faults import Fault, Origin, WrongSettings, broken_rule
from sealstream.settings.marks import InFolder, Secret, SecretKeys
from sealstream.settings.reading import Loaded, read
from sealstream.settings.reference import reference
from sealstream.settings.secret_files import secret_in
from sealstream.settings.showing import Shown, shown

__all__ = [
    "Fault",
    "InFolder",
    "Loaded",
    "Origin",
    "Secret",
    "SecretKeys",
    "Shown",
    "WrongSettings",
    "broken_rule",
    "read",
    "reference",
    "secret_in",
    "shown",
]
