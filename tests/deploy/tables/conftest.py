"""An archive as the real sink wrote it, copied into a folder; and the same entries in plain Python, to compare with."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.archive.conftest import MadeChain, Stage

from sealstream.archive import ArchiveSettings
from sealstream.archive.copying import copy_archive
from sealstream.kafka import KafkaSettings
from sealstream.layout import Entry, decode_entry


class Lake(NamedTuple):
    """The folder, the archived entries in their order, and what makes more of them."""

    folder: Path
    stage: Stage

    @property
    def entries(self) -> list[tuple[Entry, Any]]:
        """Each archived entry, decoded, with its seal."""
        made = [entry for segment in self.stage.chain.segments for entry in segment.entries]
        return [(decode_entry(entry.body), entry) for entry in made]

    def grow(self) -> None:
        """Another day's entries, archived and copied."""
        self.stage.chain.event(after_s=86_400)
        self.stage.chain.events(30)
        self.stage.publish()
        self.copy()

    def copy(self) -> None:
        self.stage.archive_all()
        copy_archive(self.stage.bucket_settings, self.stage.chain.name, self.folder)


@pytest.fixture
def lake(kafka: KafkaSettings, s3_settings: dict[str, Any], tmp_path: Path) -> Iterator[Lake]:
    """Two days of a clinic: the auditor's user and record, somebody who is denied again and again, others."""
    bucket = ArchiveSettings(f"t-{uuid.uuid4().hex[:16]}", **s3_settings)
    stage = Stage(kafka, bucket, MadeChain(prefix=f"t{uuid.uuid4().hex[:10]}"))
    for day in range(2):
        for index in range(40):
            stage.chain.event(
                after_s=86_400 - 60 if day and not index else 1,
                actor_id=("mallory", "user-123", "nurse-1", "nurse-2")[index % 4],
                resource_type="patient_record",
                resource_id="patient-456" if index % 5 == 0 else f"patient-{index % 5}",
                result="denied" if index % 4 == 0 else "success",
                action="patient.read",
                tenant="ward-3" if index % 2 else None,
                reason=f"round {index}, Zoë’s",
            )
    stage.publish()
    made = Lake(tmp_path / "archive", stage)
    made.copy()
    yield made
    stage.close()
