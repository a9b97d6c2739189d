"""A review's two files, the document and its page, and whether they are still what was made and what the stores say.

Each is written beside its place and renamed into it, the page first: a document stands for both, since it holds the
page's SHA-256. A crash between leaves a page that no document names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sealstream.cli.context import counted
from sealstream.cli.settings import Settings
from sealstream.cli.whole_file import write_whole
from sealstream.errors import Misconfigured, NotCanonical
from sealstream.reports import Period
from sealstream.reviews import Review, changes, document_sha256, read_document
from sealstream.reviews.alerts_section import Alerts

__all__ = ["ReviewFiles", "check_unchanged", "check_worked_off", "start_again"]

_TOLD_CHANGES = 8


class ReviewFiles(NamedTuple):
    """Of one period of one chain."""

    document: Path
    page: Path

    @classmethod
    def of(cls, settings: Settings, chain: str, period: Period) -> ReviewFiles:
        """Where the settings say."""
        named = Path(settings.reviews.folder) / f"review-{chain}-{period.file_name}"
        return cls(Path(f"{named}.json"), Path(f"{named}.html"))

    def read(self) -> bytes | None:
        """The document's bytes; None: there is none here."""
        try:
            return self.document.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Misconfigured(f"{self.document} can't be read: {error.strerror}") from error

    def write(self, document: bytes, page: bytes) -> None:
        """The page first: a document stands for both."""
        try:
            self.document.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.page, page)
            write_whole(self.document, document)
        except OSError as error:
            raise Misconfigured(f"{self.document.parent} can't be written to: {error.strerror}") from error

    def page_is(self, sha256: str) -> bool:
        """Whether the page is there, as it was made."""
        try:
            return document_sha256(self.page.read_bytes()) == sha256
        except OSError:
            return False

    def still_right(self, review: Review, fresh: Mapping[str, Any]) -> bytes | None:
        """The document that is there, where a statement names it and it says what `fresh` does; else None."""
        data = self.read()
        if data is None or document_sha256(data) not in {each.document_sha256 for each in review.started}:
            return None
        document = read_document(data)
        same = document["figures"].get("verification") == fresh["figures"].get("verification")
        whole = document["whole"] == fresh["whole"] and self.page_is(document.get("page_sha256", ""))
        return data if same and whole and not changes(document, fresh) else None

    def document_in(self, data: bytes) -> dict[str, Any]:
        """What these bytes say. Raises `Misconfigured` when they are no document."""
        try:
            return read_document(data)
        except NotCanonical as error:
            raise Misconfigured(f"{self.document}: {error}; `sealstream review start` writes it anew") from error

    def checked(self, data: bytes, sha256: str, review: Review, chain: str) -> dict[str, Any]:
        """The document, if it is one that was made for this review and has not changed since."""
        again = start_again(chain, review.period)
        if not review.started:
            raise Misconfigured(f"nobody has begun the review of {review.period}: {again} does")
        if sha256 not in {each.document_sha256 for each in review.started}:
            made = review.started[-1]
            raise Misconfigured(
                f"{self.document} was changed: its SHA-256 is {sha256[:16]}..., that of the document that {made.by} "
                f"made is {made.document_sha256[:16]}... (entry {made.seq}); {again} writes it anew"
            )
        document = self.document_in(data)
        if not self.page_is(document.get("page_sha256", "")):
            raise Misconfigured(f"{self.page} was changed, or is gone: {again} writes it anew, to be looked at")
        return document


def check_unchanged(document: Mapping[str, Any], fresh: Mapping[str, Any], chain: str, period: Period) -> None:
    """Raises `Misconfigured` when the document is not what the stores say now."""
    moved = changes(document, fresh)
    if not document["whole"]:
        moved = ["it was made before the period was over", *moved]
    if moved:
        words = "; ".join(moved[:_TOLD_CHANGES]) + ("; and more" if len(moved) > _TOLD_CHANGES else "")
        raise Misconfigured(
            f"the document of {period} is no longer what the stores say ({words}): {start_again(chain, period)} writes "
            "it anew; look at it, then sign"
        )


def check_worked_off(alerts: Alerts, period: Period, *, allowed: bool) -> None:
    """Raises `Misconfigured` when alerts are left to do, unless that is allowed."""
    left = alerts.left_to_do
    if left and not allowed:
        ids = ", ".join(case.id[:8] for case in left[:_TOLD_CHANGES])
        raise Misconfigured(
            f"{counted(len(left), 'alert')} of {period} {'is' if len(left) == 1 else 'are'} left to do ({ids}): judge "
            "them with `sealstream alerts close`, or sign with --with-open-alerts, which the signature then says"
        )


def start_again(chain: str, period: Period) -> str:
    """The command that makes a period's document."""
    return f"`sealstream review start --period {period} --chain {chain}`"
