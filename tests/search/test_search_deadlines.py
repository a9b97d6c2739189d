"""The API's searches of the archive end when their time is over: a real service, and a slow way to the bucket."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import httpx
import pytest
from tests.faults.proxy import Link, Network
from tests.long_runs import long_run
from tests.pipeline import say, wait_until
from tests.search.conftest import Searchable
from tests.web.conftest import start_service

from sealstream.cli.settings import write_settings
from sealstream.web.settings import ARCHIVE_TIMES

SEARCH_S = 0.3
ALLOWED_S = SEARCH_S * ARCHIVE_TIMES


@pytest.fixture
def distant(searchable: Searchable, tmp_path: Path) -> Iterator[tuple[httpx.Client, Link]]:
    """Somebody who asks the service, and the network between it and the bucket."""
    network = Network()
    port = network.listen("serve", "s3", urlsplit(searchable.bucket.endpoint_url or "").port or 80)
    config = tmp_path / "sealstream.toml"
    config.write_bytes(searchable.config.read_bytes())
    write_settings(
        config,
        {"archive": {"endpoint_url": f"http://127.0.0.1:{port}"}, "serve": {"search_seconds": SEARCH_S}},
    )
    made = say(config, "tokens", "create", "distant", "--chain", "*")
    assert made.code == 0, made.err
    url, process = start_service(SimpleNamespace(config=config, folder=tmp_path))  # type: ignore[arg-type]
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {made.out.strip()}"}, timeout=60) as client:
        yield client, network.link("serve", "s3")
    process.terminate()
    assert process.wait(60) == 0
    network.close()


@long_run
def test_a_search_of_the_archive_over_http_ends_when_its_time_is_over(distant, searchable) -> None:
    client, link = distant
    place = f"/v1/chains/{searchable.chains[0]}/entries/5"
    asked = [("/v1/search", {"q": "reason:*audit*"}), ("/v1/counts", {"by": "actor"}), (place, {})]

    def ask(path: str, more: dict[str, str]) -> httpx.Response:
        return client.get(path, params={**more, "source": "archive"})

    for question in asked:  # objects are listed, and there is time enough when the bucket is near
        wait_until(lambda question=question: ask(*question).status_code == 200, 60)
    link.delay_s = (ALLOWED_S, ALLOWED_S)  # of the request, and of its answer
    for question in asked:
        begun = time.monotonic()
        answer = ask(*question)
        took = time.monotonic() - begun
        assert answer.status_code == 422, question
        assert answer.json()["type"].endswith(":search-too-broad")
        assert f"archive took longer than {ALLOWED_S:g} s: narrow it, by sealed_after:" in answer.json()["detail"]
        assert took >= ALLOWED_S
    link.delay_s = None
    wait_until(lambda: ask(*asked[0]).status_code == 200, 60)
