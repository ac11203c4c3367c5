"""Takes the picture of a dose map that the README shows: in about two minutes.

    python docs/dose_map.py [--out docs/images] [--keep DIR]

Starts a simulated laboratory, maps two regions of one nanowire at many tilts, each
tracked beside itself, and draws what the dose ledger then holds. The second region
overlaps the first by a strip, which is charged with both.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from cryoline.acquisition import (
    Scan,
    Scheme,
    Specimen,
    Tracking,
    bidirectional,
    load_config,
    open_session,
)
from cryoline.acquisition.dose_map_report import look_up_map
from cryoline.acquisition.low_dose_areas import DisplacedArea

__all__ = ["main"]

PICTURE = "dose-map.png"
WIRE = Specimen(name="nw-01")
FACTOR = 100
"""Instrument time over wall time."""
SCAN = Scan(width_px=192, height_px=192, pixel_nm=1.068, factor_at_60deg=1.5)
AREA = DisplacedArea(offset_nm=490.0, width_px=128, height_px=128, pixel_nm=3.2)
"""Along the wire; wide, because the wire moves across the tilt axis."""


class Part(NamedTuple):
    """One region, and what it gets."""

    name: str
    y_nm: float
    """Along the wire, and the tilt axis."""
    scheme: Scheme
    total_e_per_nm2: float


PARTS = (
    Part("region-1", -290.0, bidirectional(60, -60, 5), 4e6),
    Part("region-2", -115.0, bidirectional(60, -60, 10), 3e6),
)


def main() -> int:
    """Take the picture; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    parser.add_argument("--keep", type=Path, help="leave the laboratory's files here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lab = options.keep or Path(folder) / "lab"
        sim("up", "--dir", lab, "--factor", FACTOR, "--specimen", "wire")
        try:
            expose_all(lab)
            found = look_up_map(
                load_config(lab / "instrument.toml"),
                WIRE.name,
                region=None,
                cell_nm=None,
            )
            found.draw(options.out / PICTURE)
        finally:
            sim("down", "--dir", lab)
    sys.stdout.write(f"{options.out / PICTURE}\n")
    return 0


def sim(*arguments: Any) -> None:
    """Run a command of the simulated laboratory."""
    command = [sys.executable, "-m", "cryoline.acquisition.cli", "sim"]
    subprocess.run([*command, *map(str, arguments)], check=True)


def expose_all(lab: Path) -> None:
    """Map each region within its total."""
    session = open_session(load_config(lab / "instrument.toml"), write=print)
    # Channel Access must know where to search before a plan imports it.
    from cryoline.acquisition import tilt_series

    devices = session.devices
    for part in PARTS:
        session.ledger.place_region(
            WIRE.name, part.name, x_nm=0.0, y_nm=part.y_nm, reason="for a picture"
        )
    for part in PARTS:
        devices["stage"].y_nm.set(-part.y_nm).wait(60)
        session.RE(
            tilt_series(
                devices["stage"],
                devices["beam"],
                [devices["haadf"], devices["eds"]],
                WIRE,
                region=part.name,
                scheme=part.scheme,
                scan=SCAN,
                tracking=Tracking(area=AREA, dwell_s=20e-6),
                clock=devices["clock"],
                total_e_per_nm2=part.total_e_per_nm2,
            )
        )


if __name__ == "__main__":
    sys.exit(main())
