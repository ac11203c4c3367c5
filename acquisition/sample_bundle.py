"""A specimen's bundle: its dose and custody in one file, for another site.

Readable JSON, with a SHA-256 over its content. What is in it was checked before anybody
sees it: a bundle is read as a whole, or refused.
"""

import hashlib
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cryoline.acquisition.errors import BundleRefused
from cryoline.acquisition.journal import sync_directory
from cryoline.acquisition.model_errors import explain

__all__ = [
    "BUNDLE_FORMAT",
    "BUNDLE_VERSION",
    "Booking",
    "Bundle",
    "BundleFile",
    "CustodyEntry",
    "LedgerEntry",
    "read_bundle",
]

BUNDLE_FORMAT: Final = "cryoline-sample-bundle"
BUNDLE_VERSION: Final = 1

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Integer = Annotated[int, Field(ge=-(2**53), le=2**53)]
"""What JSON carries without loss everywhere."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Booking(_Model):
    """What an event moves on one account of a specimen's region."""

    ticket: str | None
    specimen: str
    region: str
    purpose: str
    account: Literal["series", "ticket", "settled"]
    milli_e_per_nm2: _Integer
    footprint: str | None = None
    """Where on the specimen, as the ledger writes it; None: everywhere."""


class LedgerEntry(_Model):
    """An event of the dose ledger, with what it books."""

    uid: Annotated[str, Field(min_length=1)]
    kind: str
    time_s: _Finite
    specimen: str | None
    region: str | None
    series: str | None
    shape: _Integer | None
    ticket: str | None
    source: str
    """SITE/INSTRUMENT; SITE/ for what no instrument has to do with."""
    boot_id: str | None
    counter: _Integer | None
    over: Annotated[int, Field(ge=0, le=1)]
    owner: dict[str, Any]
    body: dict[str, Any]
    bookings: list[Booking]

    @property
    def site(self) -> str:
        """Where it was written."""
        return self.source.rpartition("/")[0]


class CustodyEntry(_Model):
    """A row of the custody record."""

    uid: Annotated[str, Field(min_length=1)]
    kind: str
    specimen: str
    leg: str | None
    wall_s: _Finite
    instrument_s: _Finite | None
    run: str | None
    body: dict[str, Any]


class Bundle(_Model):
    """What a site knows of a specimen, ancestors included, as it sends it away."""

    specimen: str
    ancestors: list[str]
    """Whose rows are in it too."""
    site: Annotated[str, Field(min_length=1)]
    """Where the bundle was made."""
    to: str
    """Where it was sent; may be empty."""
    exported: str
    """UTC, ISO 8601."""
    export: str
    """UUID of the ledger's row that made it."""
    dose: list[LedgerEntry]
    custody: list[CustodyEntry]

    @property
    def family(self) -> tuple[str, ...]:
        """The specimen and its ancestors."""
        return (self.specimen, *self.ancestors)

    @model_validator(mode="after")
    def _check(self) -> Self:
        uids = [row.uid for row in self.dose] + [row.uid for row in self.custody]
        if len(uids) != len(set(uids)):
            raise ValueError("it holds two rows of one UUID")
        if self.export not in uids:
            raise ValueError("it lacks the row of its own export")
        held: dict[tuple[str | None, str, str], int] = defaultdict(int)
        for event in self.dose:
            for b in event.bookings:
                if b.specimen not in self.family:
                    raise ValueError(f"it books for {b.specimen}, which it is not of")
                if b.account == "settled" and b.milli_e_per_nm2 < 0:
                    raise ValueError(f"event {event.uid} takes a charge back")
                whose = b.ticket if b.account == "ticket" else None
                held[whose, b.specimen, b.account] += b.milli_e_per_nm2
        if any(m for (*_, account), m in held.items() if account != "settled"):
            raise ValueError("something is still reserved in it")
        for row in self.custody:
            if row.specimen not in self.family:
                raise ValueError(f"it has custody of {row.specimen}, not of its own")
        return self

    def sha256(self) -> str:
        """Return the checksum over its canonical JSON; see docs/reference/bundle.md."""
        return _sha256(self.model_dump(mode="json"))


class BundleFile:
    """A file in the making: whole under another name, then there at once, or never."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        if not path.parent.is_dir():
            raise BundleRefused(f"{path}: no directory {path.parent}; make it first")
        if path.exists():
            raise BundleRefused(
                f"{path}: is there already, and no bundle is overwritten; name another "
                "file"
            )

    def write(self, bundle: Bundle) -> None:
        """Put the bundle on disk, under a name that nobody takes for one."""
        content = bundle.model_dump(mode="json")
        whole = {
            "format": BUNDLE_FORMAT,
            "version": BUNDLE_VERSION,
            "sha256": _sha256(content),
            "content": content,
        }
        text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        try:
            with self._temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise BundleRefused(
                f"{self.path}: the bundle can't be written ({error.strerror}); free "
                "space, or name a file elsewhere. The specimen is not locked"
            ) from error

    def publish(self) -> None:
        """Give it its name, for good."""
        self._temporary.replace(self.path)
        sync_directory(self.path.parent)

    def discard(self) -> None:
        """Remove what has no name yet."""
        self._temporary.unlink(missing_ok=True)


def read_bundle(path: Path) -> Bundle:
    """Return what a bundle holds.

    Raises BundleRefused for what is no bundle, of a newer version, damaged, or wrong in
    itself.
    """
    whole = _load(path)
    version = whole.get("version")
    if whole.get("format") != BUNDLE_FORMAT or not isinstance(version, int):
        raise BundleRefused(
            f"{path}: is JSON, but no bundle of a specimen; make one with cryoline "
            "sample export"
        )
    if version != BUNDLE_VERSION:
        raise BundleRefused(
            f"{path}: a bundle of version {version}, this cryoline reads version "
            f"{BUNDLE_VERSION}; nothing was imported. Install the cryoline that wrote "
            "it"
        )
    if set(whole) != {"format", "version", "sha256", "content"}:
        raise BundleRefused(f"{path}: {_damaged('its outermost keys are others')}")
    if _sha256(whole["content"]) != whole["sha256"]:
        raise BundleRefused(f"{path}: {_damaged('its checksum does not fit')}")
    try:
        return Bundle.model_validate(whole["content"])
    except ValidationError as error:
        why = explain(error.errors()[0], Bundle, "docs/reference/bundle.md")
        raise BundleRefused(f"{path}: {_damaged(why)}") from error


def _load(path: Path) -> dict[str, Any]:
    try:
        whole = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except OSError as error:
        raise BundleRefused(
            f"{path}: the bundle can't be read ({error.strerror}); check the path"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BundleRefused(
            f"{path}: {_damaged(f'cut short, or no bundle: {error}')}"
        ) from error
    return whole if isinstance(whole, dict) else {}


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _damaged(why: str) -> str:
    return (
        f"the bundle is damaged or was changed ({why}); nothing was imported. Fetch it "
        "anew from the site that made it (there: cryoline sample export ... --again)"
    )


def _sha256(content: Any) -> str:
    text = json.dumps(
        content,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
