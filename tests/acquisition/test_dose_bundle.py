"""A specimen goes to another site and comes back, with all that it has received."""

import copy
import functools
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cryoline.acquisition import dose_bundle
from cryoline.acquisition.append_only import AppendOnlyFile
from cryoline.acquisition.config import Config, load_config
from cryoline.acquisition.custody import CustodyRecord
from cryoline.acquisition.custody_records import LegStart
from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.dose_config import open_ledger
from cryoline.acquisition.errors import BundleRefused, DoseRefused, LedgerError
from cryoline.acquisition.sample_bundle import read_bundle
from cryoline.acquisition.sample_exchange import (
    away,
    export_sample,
    import_sample,
    unlock_sample,
)
from cryoline.devices.exposure import Exposure, ExposureResult, Outcome, Ticket

FRAME = Exposure(
    specimen="nw-01", width_px=512, height_px=512, pixel_nm=2.134, dwell_s=4e-6
)


@dataclass
class Site:
    """A laboratory with a ledger and a custody record of its own, and a beam."""

    config: Config
    boot_id: str
    counter: int = 0

    @property
    def root(self) -> Path:
        return self.config.layout.root

    def ledger(self) -> DoseLedger:
        return open_ledger(self.config)

    def record(self) -> CustodyRecord:
        return CustodyRecord(self.config.custody_record)

    def reserve(self, exposure: Exposure = FRAME) -> Ticket:
        with self.ledger() as ledger:
            return ledger.reserve(
                exposure,
                current_pa=150,
                current_limit_pa=165,
                boot_id=self.boot_id,
                counter=self.counter,
            )

    def settle(self, ticket: Ticket, charge_c: float = 1e-10) -> None:
        self.counter += 1
        with self.ledger() as ledger:
            ledger.settle(
                ticket.uid,
                ExposureResult(
                    ticket_uid=ticket.uid,
                    outcome=Outcome.COMPLETE,
                    charge_c=charge_c,
                    beam_on_s=1.0,
                    frames=1,
                    counter=self.counter,
                    boot_id=self.boot_id,
                ),
            )

    def expose(self, exposure: Exposure = FRAME, charge_c: float = 1e-10) -> None:
        self.settle(self.reserve(exposure), charge_c)

    def settled(self, specimen: str = "nw-01", region: str = "region-1") -> float:
        with self.ledger() as ledger:
            return ledger.usage(specimen, region).settled_e_per_nm2

    def content(self) -> list[tuple[Any, ...]]:
        """Return every row of ledger and record."""
        found = []
        for path, tables in (
            (self.config.dose_ledger, ("events", "bookings")),
            (self.config.custody_record, ("rows",)),
        ):
            if path.exists():
                with closing(sqlite3.connect(path)) as connection:
                    for table in tables:
                        found += connection.execute(
                            f"SELECT * FROM {table} ORDER BY id"
                        ).fetchall()
        return found


MakeSite = Callable[..., Site]


@pytest.fixture
def memory() -> Iterator[Path]:
    """Return a folder in memory, if there is some: hundreds of commits."""
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


@pytest.fixture
def make_site(memory: Path) -> MakeSite:
    def make(name: str, folder: str | None = None, limit: float = 1e7) -> Site:
        root = memory / (folder or name)
        (root / "data").mkdir(parents=True)
        path = root / "instrument.toml"
        path.write_text(
            f'[instrument]\nname = "{name}"\n[dose]\nlimit_e_per_nm2 = {limit}\n'
        )
        return Site(load_config(path), boot_id=f"boot-of-{name}")

    return make


@pytest.fixture
def home(make_site: MakeSite) -> Site:
    return make_site("Bath")


@pytest.fixture
def there(make_site: MakeSite) -> Site:
    return make_site("Lyon")


def resealed(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Change a bundle's content, and give it the checksum that fits."""
    whole = json.loads(path.read_text())
    change(whole["content"])
    text = json.dumps(
        whole["content"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    whole["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    other = path.with_name("resealed.json")
    other.write_text(json.dumps(whole))
    return other


# There and back


def test_what_it_has_received_goes_with_it_and_comes_back(
    home: Site, there: Site, tmp_path: Path
) -> None:
    home.expose()
    home.expose(FRAME.model_copy(update={"region": "region-2", "offset_y_nm": 3e3}))
    each = home.settled()

    export_sample(home.config, "nw-01", tmp_path / "out.json", to="Lyon")
    arrived = import_sample(there.config, tmp_path / "out.json")

    assert there.settled() == there.settled(region="region-2") == each
    assert (arrived.unlocked, arrived.lock, arrived.only_here) == (False, "", 0)
    there.expose()
    export_sample(there.config, "nw-01", tmp_path / "back.json", to="Bath")
    back = import_sample(home.config, tmp_path / "back.json")

    assert back.unlocked
    assert home.settled() == there.settled() == pytest.approx(2 * each)
    home.expose()
    assert home.settled() == pytest.approx(3 * each)
    with pytest.raises(DoseRefused, match="was sent to Bath"):
        there.reserve()


def test_a_budget_is_one_budget_at_all_sites(
    make_site: MakeSite, tmp_path: Path
) -> None:
    home = make_site("Bath", limit=1500)
    there = make_site("Lyon", limit=1500)
    home.expose(charge_c=1e-10)  # 523 e/nm2
    export_sample(home.config, "nw-01", tmp_path / "out.json")
    import_sample(there.config, tmp_path / "out.json")

    there.expose(charge_c=1e-10)

    with pytest.raises(DoseRefused, match=r"4\.5\de2 e/nm2 of 1\.50e3 e/nm2 is left"):
        there.reserve()


def test_what_is_away_is_exposed_nowhere_else(home: Site, tmp_path: Path) -> None:
    home.expose()
    out = tmp_path / "out.json"
    export_sample(home.config, "nw-01", out, to="Lyon, TEM 2")
    lock = away(home.config, "nw-01")
    assert lock is not None
    moment = time.strftime("%Y-%m-%d %H:%M", time.gmtime(lock.time_s))

    with pytest.raises(DoseRefused) as caught:
        home.reserve()

    assert str(caught.value) == (
        f"dose: specimen nw-01 was sent to Lyon, TEM 2 on {moment} UTC ({out}); what "
        "it receives there is not known here. When it is back: cryoline sample import "
        "BUNDLE, with the bundle that came back with it. If there will be none: "
        "cryoline sample unlock nw-01 --reason TEXT"
    )
    with (
        home.ledger() as ledger,
        pytest.raises(DoseRefused, match="was sent to Lyon, TEM 2"),
    ):
        ledger.open_series([FRAME], current_limit_pa=165.0)
    home.reserve(FRAME.model_copy(update={"specimen": "nw-02"}))  # others go on


def test_a_person_unlocks_it_for_a_reason(home: Site, tmp_path: Path) -> None:
    home.expose()
    export_sample(home.config, "nw-01", tmp_path / "out.json")

    with pytest.raises(LedgerError, match="give a reason"):
        unlock_sample(home.config, "nw-01", reason=" ")
    unlock_sample(home.config, "nw-01", reason="never left, the courier is ill")

    home.reserve()
    with home.ledger() as ledger:
        rows = [r for r in ledger.history("nw-01") if r.kind == "unlock"]
    assert [r.body["reason"] for r in rows] == ["never left, the courier is ill"]
    with pytest.raises(LedgerError, match="is not locked here"):
        unlock_sample(home.config, "nw-01", reason="again")


def test_custody_and_what_parents_suffered_go_with_it(
    home: Site, there: Site, tmp_path: Path
) -> None:
    with home.record() as record:
        record.register("nw-01", parent="wafer-1")
        record.flag("wafer-1", "temperature", "-120 degC", occurred_s=0)
        record.correct_place("nw-01", "pot", state="cold", reason="put there")
    home.expose(FRAME.model_copy(update={"specimen": "wafer-1"}))
    home.expose()

    done = export_sample(home.config, "nw-01", tmp_path / "out.json")
    import_sample(there.config, tmp_path / "out.json")

    with home.record() as here, there.record() as far:
        assert done.custody_rows == 4
        assert far.state("nw-01") == here.state("nw-01")
        assert far.state("nw-01").flags == ("temperature",)
        far.flag("nw-01", "frost", "ice on the tip")
    assert there.settled("wafer-1") == home.settled("wafer-1") > 0
    export_sample(there.config, "nw-01", tmp_path / "back.json")
    import_sample(home.config, tmp_path / "back.json")
    with home.record() as here:
        assert here.state("nw-01").flags == ("frost", "temperature")


# Once, however often


def test_a_bundle_twice_changes_nothing(
    home: Site, there: Site, tmp_path: Path
) -> None:
    home.expose()
    with home.record() as record:
        record.register("nw-01")
    out = tmp_path / "out.json"
    export_sample(home.config, "nw-01", out)
    assert import_sample(there.config, out).is_new
    before = there.content()

    again = import_sample(there.config, out)

    assert not again.is_new
    assert there.content() == before
    assert "holds nothing that is not known here; nothing changed" in again.lines("")[0]


def test_the_bundle_of_here_brings_nothing_back(home: Site, tmp_path: Path) -> None:
    home.expose()
    out = tmp_path / "out.json"
    export_sample(home.config, "nw-01", out, to="Lyon")
    before = home.content()

    done = import_sample(home.config, out)

    assert home.content() == before
    assert not done.unlocked
    assert done.lock.startswith("was sent to Lyon on ")


def test_an_old_bundle_changes_nothing_and_does_not_unlock(
    home: Site, there: Site, tmp_path: Path
) -> None:
    home.expose()
    export_sample(home.config, "nw-01", tmp_path / "1.json")
    import_sample(there.config, tmp_path / "1.json")
    there.expose()
    export_sample(there.config, "nw-01", tmp_path / "2.json")
    import_sample(home.config, tmp_path / "2.json")
    home.expose()
    export_sample(home.config, "nw-01", tmp_path / "3.json", to="Graz")
    before = home.content()

    for name in ("1.json", "2.json"):
        done = import_sample(home.config, tmp_path / name)
        assert (done.is_new, done.unlocked) == (False, False)
        assert done.lock.startswith("was sent to Graz")

    assert home.content() == before


def test_three_sites_in_a_row_lead_to_the_same_sum(
    make_site: MakeSite, tmp_path: Path
) -> None:
    sites = [make_site(name) for name in ("Bath", "Lyon", "Graz")]
    for n, site in enumerate(sites):
        site.expose()
        export_sample(site.config, "nw-01", tmp_path / f"{n}.json")
        import_sample(sites[(n + 1) % 3].config, tmp_path / f"{n}.json")

    # Back home without having been seen by the second: the third knows it all.
    assert away(sites[0].config, "nw-01") is None
    assert sites[0].settled() == pytest.approx(3 * sites[1].settled() / 2)
    assert away(sites[1].config, "nw-01") is not None


def test_both_have_exposed_it_and_both_count(
    home: Site, there: Site, tmp_path: Path
) -> None:
    home.expose()
    each = home.settled()
    export_sample(home.config, "nw-01", tmp_path / "out.json")
    unlock_sample(home.config, "nw-01", reason="two halves")
    home.expose()
    import_sample(there.config, tmp_path / "out.json")
    there.expose()
    export_sample(there.config, "nw-01", tmp_path / "back.json")

    done = import_sample(home.config, tmp_path / "back.json")

    assert done.only_here == 2
    assert home.settled() == pytest.approx(3 * each)


# What is refused, and changes nothing


def test_nothing_leaves_while_something_is_open(home: Site, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    ticket = home.reserve()

    with pytest.raises(BundleRefused) as caught:
        export_sample(home.config, "nw-01", out)

    assert str(caught.value) == (
        f"specimen nw-01: ticket {ticket.uid} of nw-01 is still open, and what came "
        "of it would be missing in the bundle; nothing was exported. End the session, "
        "or run cryoline dose reconcile; see cryoline dose show nw-01"
    )
    home.settle(ticket)
    with home.ledger() as ledger:
        series = ledger.open_series([FRAME], current_limit_pa=165.0)
        with pytest.raises(BundleRefused, match=f"series {series} of nw-01 is still"):
            export_sample(home.config, "nw-01", out)
        ledger.close_series(series)
    with home.record() as record:
        record.enter_leg(
            LegStart(
                *("leg", "nw-01", "cold way", "plunge", "dry", "cold", "bench", "pot"),
                instrument_time_s=0.0,
            )
        )
    with pytest.raises(BundleRefused, match="is on leg plunge of cold way"):
        export_sample(home.config, "nw-01", out)
    assert list(tmp_path.glob("*out*")) == []
    assert away(home.config, "nw-01") is None


def test_it_is_sent_once_and_its_bundle_can_be_had_again(
    home: Site, there: Site, tmp_path: Path
) -> None:
    home.expose()
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    with pytest.raises(BundleRefused, match="is here, there is no bundle to be"):
        export_sample(home.config, "nw-01", first, again=True)
    export_sample(home.config, "nw-01", first, to="Lyon")
    with pytest.raises(BundleRefused, match=r"was sent to Lyon .* can't be sent twice"):
        export_sample(home.config, "nw-01", second, to="Graz")
    with pytest.raises(BundleRefused, match="is there already, and no bundle is"):
        export_sample(home.config, "nw-01", first, again=True)

    export_sample(home.config, "nw-01", second, again=True)

    assert second.read_bytes() == first.read_bytes()
    import_sample(there.config, second)
    assert not import_sample(there.config, first).is_new


def test_a_specimen_that_nobody_knows(home: Site, tmp_path: Path) -> None:
    home.expose()

    with pytest.raises(BundleRefused) as caught:
        export_sample(home.config, "nw-1", tmp_path / "out.json")

    assert str(caught.value) == (
        "specimen 'nw-1': neither dose ledger nor custody record knows it; did you "
        "mean 'nw-01'?"
    )


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda b: b[: len(b) // 2], "cut short, or no bundle"),
    "empty": (lambda _: b"", "cut short, or no bundle"),
    "binary": (lambda _: b"\xff\xfe\x00", "cut short, or no bundle"),
    "deep": (lambda _: b"[" * 200_000, "cut short, or no bundle"),
    "a list": (lambda _: b"[]", "is JSON, but no bundle"),
    "a number": (
        lambda b: b.replace(b'"milli_e_per_nm2": ', b'"milli_e_per_nm2": 1', 1),
        "its checksum does not fit",
    ),
    "nan": (lambda b: b.replace(b'"over": 0', b'"over": NaN', 1), "NaN is no number"),
    "newer": (
        lambda b: b.replace(b'"version": 1', b'"version": 2', 1),
        "a bundle of version 2, this cryoline reads version 1; nothing was imported",
    ),
    "more": (
        lambda b: b.replace(b'"version": 1', b'"signed": true, "version": 1', 1),
        "its outermost keys are others",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_bundle_is_refused(
    home: Site, there: Site, tmp_path: Path, name: str
) -> None:
    home.expose()
    there.expose(FRAME.model_copy(update={"specimen": "nw-02"}))
    path = tmp_path / "out.json"
    export_sample(home.config, "nw-01", path)
    damage, text = DAMAGE[name]
    path.write_bytes(damage(path.read_bytes()))
    before = there.content()

    with pytest.raises(BundleRefused, match=text):
        import_sample(there.config, path)

    assert there.content() == before


def first_booking(content: dict[str, Any]) -> dict[str, Any]:
    booking: dict[str, Any] = next(b for e in content["dose"] for b in e["bookings"])
    return booking


def last_charge(content: dict[str, Any]) -> dict[str, Any]:
    booking: dict[str, Any] = next(
        b
        for e in reversed(content["dose"])
        for b in e["bookings"]
        if b["account"] == "settled"
    )
    return booking


FORGERIES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a charge back": (
        lambda c: last_charge(c).update(milli_e_per_nm2=-1),
        "takes a charge back",
    ),
    "something open": (
        lambda c: first_booking(c).update(milli_e_per_nm2=5),
        "something is still reserved in it",
    ),
    "another specimen": (
        lambda c: last_charge(c).update(specimen="nw-09"),
        "it books for nw-09, which it is not of",
    ),
    "a row twice": (
        lambda c: c["dose"].append(copy.deepcopy(c["dose"][0])),
        "it holds two rows of one UUID",
    ),
    "no export": (
        lambda c: c.update(export="none"),
        "it lacks the row of its own export",
    ),
    "a missing key": (lambda c: c["dose"][0].pop("uid"), "key 'dose.0.uid' is missing"),
    "too large": (
        lambda c: last_charge(c).update(milli_e_per_nm2=2**60),
        "milli_e_per_nm2",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_bundle_that_is_wrong_in_itself_is_refused(
    home: Site, there: Site, tmp_path: Path, name: str
) -> None:
    home.expose()
    export_sample(home.config, "nw-01", tmp_path / "out.json")
    change, text = FORGERIES[name]
    there.expose(FRAME.model_copy(update={"specimen": "nw-02"}))
    before = there.content()

    with pytest.raises(BundleRefused, match=text):
        import_sample(there.config, resealed(tmp_path / "out.json", change))

    assert there.content() == before


def test_rows_of_one_uuid_that_differ_are_refused(
    home: Site, there: Site, tmp_path: Path
) -> None:
    home.expose()
    with home.record() as record:
        record.register("nw-01")
        record.flag("nw-01", "frost", "ice")
    path = tmp_path / "out.json"
    export_sample(home.config, "nw-01", path)
    import_sample(there.config, path)
    there.expose()
    before = there.content()

    def less(content: dict[str, Any]) -> None:
        last_charge(content)["milli_e_per_nm2"] -= 1

    def later(content: dict[str, Any]) -> None:
        content["dose"][0]["time_s"] += 1

    def no_flag(content: dict[str, Any]) -> None:
        content["custody"][1]["body"]["flag"] = "none"

    for change, what in (
        (less, "settle row .* has other bookings there than here"),
        (later, "reserve row .* has another time_s there than here"),
        (no_flag, r"custody row .* \(flag\) is another there than here"),
    ):
        with pytest.raises(BundleRefused, match=what):
            import_sample(there.config, resealed(path, change))
        assert there.content() == before


def test_another_site_of_the_same_name_is_refused(
    make_site: MakeSite, tmp_path: Path
) -> None:
    one, other = make_site("microscope"), make_site("microscope", "elsewhere")
    one.expose()
    export_sample(one.config, "nw-01", tmp_path / "out.json")

    with pytest.raises(BundleRefused, match="the other site is called the same"):
        import_sample(other.config, tmp_path / "out.json")

    assert other.content() == []


def test_two_specimens_of_one_name_are_refused(
    home: Site, there: Site, tmp_path: Path
) -> None:
    with home.record() as record:
        record.register("nw-01", parent="wafer-1")
    with there.record() as record:
        record.register("nw-01", parent="wafer-2")
    export_sample(home.config, "nw-01", tmp_path / "out.json")
    before = there.content()

    with pytest.raises(BundleRefused) as caught:
        import_sample(there.config, tmp_path / "out.json")

    assert str(caught.value) == (
        "nw-01 is known here as made from wafer-2, at Bath as made from wafer-1; "
        "nothing was imported. They are two specimens: one of them needs another name"
    )
    assert there.content() == before


# Rows of another site among those of this one


def test_a_beam_of_the_same_name_elsewhere_is_another_beam(
    home: Site, there: Site, tmp_path: Path
) -> None:
    there.counter = 700
    there.expose(FRAME.model_copy(update={"specimen": "nw-02"}))
    home.expose()
    export_sample(home.config, "nw-01", tmp_path / "out.json")

    import_sample(there.config, tmp_path / "out.json")

    with there.ledger() as ledger:
        assert ledger.last_seen() == ("boot-of-Lyon", 701)
        sources = {row.source for row in ledger.history("nw-01")}
    assert sources == {"Bath/beam", "Bath/", None}
    there.expose()  # not taken for a restart of the one of Bath
    home.boot_id, home.counter = "boot-2", 0
    unlock_sample(home.config, "nw-01", reason="test")
    home.expose()


def test_a_region_that_is_blocked_stays_so_until_seen_where_it_is(
    home: Site, there: Site, tmp_path: Path
) -> None:
    there.expose()
    home.expose(charge_c=1e-9)
    export_sample(home.config, "nw-01", tmp_path / "out.json")
    import_sample(there.config, tmp_path / "out.json")

    with pytest.raises(DoseRefused, match="is blocked"):
        there.reserve()
    with there.ledger() as ledger:
        ledger.acknowledge("nw-01", "region-1", reason="their gun flashed")
    there.expose()
    export_sample(there.config, "nw-01", tmp_path / "back.json")
    import_sample(home.config, tmp_path / "back.json")
    home.reserve()  # seen there is seen


def test_what_was_seen_elsewhere_does_not_hide_what_happened_here(
    home: Site, there: Site, tmp_path: Path
) -> None:
    home.expose()
    export_sample(home.config, "nw-01", tmp_path / "out.json")
    unlock_sample(home.config, "nw-01", reason="two halves")
    home.expose(charge_c=1e-9)  # nobody there can have seen it
    import_sample(there.config, tmp_path / "out.json")
    there.expose(charge_c=1e-9)
    with there.ledger() as ledger:
        ledger.acknowledge("nw-01", "region-1", reason="our gun flashed")
    export_sample(there.config, "nw-01", tmp_path / "back.json")

    import_sample(home.config, tmp_path / "back.json")

    with home.ledger() as ledger:
        assert len(ledger.usage("nw-01", "region-1").blocked_by) == 1
    with pytest.raises(DoseRefused, match="is blocked"):
        home.reserve()


def test_the_lower_limit_of_two_sites_holds(
    home: Site, there: Site, tmp_path: Path
) -> None:
    home.expose()
    with home.ledger() as ledger:
        ledger.set_limit("nw-01", "region-1", 5e6, reason="fluorine leaves")
    export_sample(home.config, "nw-01", tmp_path / "out.json")
    import_sample(there.config, tmp_path / "out.json")
    with there.ledger() as ledger:
        assert ledger.usage("nw-01", "region-1").limit_e_per_nm2 == 5e6
        ledger.set_limit("nw-01", "region-1", 6e6, reason="it does not")
    export_sample(there.config, "nw-01", tmp_path / "back.json")
    with home.ledger() as ledger:
        ledger.set_limit("nw-01", "region-1", 4e6, reason="it does, below")

    import_sample(home.config, tmp_path / "back.json")

    with home.ledger() as ledger:
        assert ledger.usage("nw-01", "region-1").limit_e_per_nm2 == 4e6


def test_a_series_of_two_specimens_comes_with_each_of_them(
    home: Site, there: Site, tmp_path: Path
) -> None:
    other = FRAME.model_copy(update={"specimen": "nw-02"})
    with home.ledger() as ledger:
        series = ledger.open_series([FRAME, other], current_limit_pa=165.0)
        for frame in (FRAME, other):
            ticket = ledger.reserve(
                frame,
                current_pa=150,
                current_limit_pa=165,
                boot_id=home.boot_id,
                counter=home.counter,
                series=series,
            )
            home.settle(ticket)
        ledger.close_series(series)

    for specimen in ("nw-01", "nw-02"):
        path = tmp_path / f"{specimen}.json"
        export_sample(home.config, specimen, path)
        import_sample(there.config, path)

    for specimen in ("nw-01", "nw-02"):
        with home.ledger() as here, there.ledger() as far:
            used = far.usage(specimen, "region-1")
            assert used == here.usage(specimen, "region-1")
            assert used.settled_e_per_nm2 > 0 == used.reserved_e_per_nm2


def test_prior_sums_are_in_the_order_in_which_things_happened(
    home: Site, there: Site, tmp_path: Path
) -> None:
    home.expose()
    export_sample(home.config, "nw-01", tmp_path / "1.json")
    import_sample(there.config, tmp_path / "1.json")
    there.expose()
    export_sample(there.config, "nw-01", tmp_path / "2.json")
    import_sample(home.config, tmp_path / "2.json")
    home.expose()

    with home.ledger() as ledger:
        rows = [r for r in ledger.history("nw-01") if r.kind == "settle"]
    assert [r.source for r in rows] == ["beam", "Lyon/beam", "beam"]
    assert [r.time_s for r in rows] == sorted(r.time_s for r in rows)


def test_limits_and_dose_of_what_it_was_cut_from_go_with_it(
    home: Site, there: Site, tmp_path: Path
) -> None:
    with home.ledger() as ledger:
        ledger.register("nw-01", ["wafer-1"])
        ledger.set_limit("wafer-1", "region-1", 2000, reason="it swells")
    home.expose(FRAME.model_copy(update={"specimen": "wafer-1"}))
    export_sample(home.config, "nw-01", tmp_path / "out.json")
    with there.ledger() as ledger:
        ledger.register("nw-01", ["wafer-1", "cell-1"])

    import_sample(there.config, tmp_path / "out.json")

    with home.ledger() as here, there.ledger() as far:
        used = far.usage("nw-01", "region-1")
        assert used == here.usage("nw-01", "region-1")
        assert used.limit_e_per_nm2 == 2000
        assert 1000 < used.left_e_per_nm2 < 1500  # less what the wafer has received
        # Nor was forgotten what only this site knew.
        far.set_limit("cell-1", "region-1", 1500, reason="so does the cell")
        assert far.usage("nw-01", "region-1").limit_e_per_nm2 == 1500


def test_a_specimen_of_other_ancestors_is_refused(
    home: Site, there: Site, tmp_path: Path
) -> None:
    for site, wafer in ((home, "wafer-1"), (there, "wafer-2")):
        with site.ledger() as ledger:
            ledger.register("nw-01", [wafer])
    export_sample(home.config, "nw-01", tmp_path / "out.json")
    before = there.content()

    with pytest.raises(BundleRefused, match="here as made from wafer-2, at Bath as"):
        import_sample(there.config, tmp_path / "out.json")

    assert there.content() == before


def test_every_column_of_the_ledger_is_in_a_bundle(home: Site) -> None:
    home.ledger().close()
    with closing(sqlite3.connect(home.config.dose_ledger)) as connection:
        tables = [
            {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")}
            for table in ("events", "bookings")
        ]

    assert tables[0] - {"id"} == set(dose_bundle._EVENT)  # noqa: SLF001
    assert tables[1] - {"id", "event"} == set(dose_bundle._BOOKING)  # noqa: SLF001


# Killed at any moment


def is_killed_at(step: int, work: Callable[[], Any]) -> bool:
    """Work in a process that kills itself before a step; return whether it did.

    A step is what another process could see: each fsync and rename, and each begin and
    end of a transaction.
    """
    pid = os.fork()
    if pid == 0:
        left = step

        def count(*_: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                count()
                return function(*args, **options)

            return call

        try:
            os.fsync = counted(os.fsync)
            Path.replace = counted(Path.replace)  # type: ignore[method-assign]
            AppendOnlyFile.at_step = staticmethod(count)  # type: ignore[assignment]
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return os.WIFSIGNALED(status)


def test_a_killed_export_leaves_a_whole_bundle_and_a_lock_or_none(
    make_site: MakeSite, tmp_path: Path
) -> None:
    steps = 0
    found = set()
    killed = True
    while killed:
        home = make_site("Bath", f"Bath-{steps}")
        home.expose()
        out = tmp_path / f"{steps}.json"

        work = functools.partial(export_sample, home.config, "nw-01", out)
        killed = is_killed_at(steps, work)

        is_locked = away(home.config, "nw-01") is not None
        found.add((is_locked, out.exists()))
        if out.exists():
            assert is_locked
            assert read_bundle(out).specimen == "nw-01"
        else:
            export_sample(home.config, "nw-01", out, again=is_locked)
        steps += 1
    assert steps > 6
    assert found == {(False, False), (True, False), (True, True)}


def test_a_killed_import_is_all_there_or_not_at_all(
    make_site: MakeSite, tmp_path: Path
) -> None:
    home, there = make_site("Bath"), make_site("Lyon")
    home.expose()
    with home.record() as record:
        record.register("nw-01")
    export_sample(home.config, "nw-01", tmp_path / "out.json")
    import_sample(there.config, tmp_path / "out.json")
    there.expose()
    with there.record() as record:
        record.flag("nw-01", "frost", "ice on the tip")
    back = tmp_path / "back.json"
    export_sample(there.config, "nw-01", back)
    one, two = home.settled(), there.settled()
    # Once more for each step: the ledger as it stands now.
    at_home = home.root.with_name("as-it-was")
    shutil.copytree(home.root, at_home)
    steps = 0
    found = set()
    killed = True
    while killed:
        shutil.rmtree(home.root)
        shutil.copytree(at_home, home.root)

        killed = is_killed_at(steps, lambda: import_sample(home.config, back))

        is_locked = away(home.config, "nw-01") is not None
        with home.record() as record:
            flags = record.state("nw-01").flags
        found.add((is_locked, home.settled(), flags))
        import_sample(home.config, back)
        assert away(home.config, "nw-01") is None
        assert home.settled() == two
        before = home.content()
        assert not import_sample(home.config, back).is_new
        assert home.content() == before
        steps += 1
    assert steps > 6
    # Custody first, so that what is unlocked has it all.
    assert found == {(True, one, ()), (True, one, ("frost",)), (False, two, ("frost",))}
