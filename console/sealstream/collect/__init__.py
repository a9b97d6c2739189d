"""The collector: HTTP ingest for every language that has no client of ours.

`app.create_app(collector)` is the ASGI application. A request is proved (`guard`), its body read within bounds
(`bodies`), taken apart and judged event by event (`judging`), and answered when Kafka has acknowledged what was
accepted (`delivering`). Here stands only what needs none of the extra `[console]`.
"""

from sealstream.collect.keys import ACTOR_TYPES, Key, KeyFile, new_key
from sealstream.collect.settings import CollectSection

__all__ = ["ACTOR_TYPES", "CollectSection", "Key", "KeyFile", "new_key"]
