"""Writes a cycling table as pictures: PNG to look at, SVG to print."""

from pathlib import Path

from cryoline.analysis.capacity import RETENTION_CYCLE
from cryoline.analysis.cycling_pictures import FORMATS, Pictures, cycling_pictures
from cryoline.plugins.cycling_table import CyclingTable
from cryoline.plugins.errors import ExporterError

__all__ = ["pictures_of", "write_figures"]


def pictures_of(table: CyclingTable, *, ended: bool = True) -> Pictures:
    """Return a table's pictures; ``ended`` says whether its last cycle is whole."""
    chosen = table.retention_cycle
    return cycling_pictures(
        {
            "instrument_time_s": table.time_s,
            "potential_v": table.potential_v,
            "current_a": table.current_a,
            "charge_mah": table.charge_mah,
            "cycle_number": table.cycle_number,
            "half_cycle": table.half_cycle,
        },
        specimen=table.specimen,
        electrode_mass_mg=table.electrode_mass_mg,
        retention_cycle=RETENTION_CYCLE if chosen is None else chosen,
        reference=(table.reference_electrode or "reference").replace("+", "$^+$"),
        ended=ended,
    )


def write_figures(table: CyclingTable, stem: Path) -> tuple[Path, ...]:
    """Write ``STEM.NAME.png`` and ``.svg`` of each picture; return all of them.

    Raises ExporterError if one of them exists or can't be written.
    """
    files = {
        stem.with_name(f"{stem.name}.{picture.name}.{form}"): (picture, form)
        for picture in pictures_of(table)
        for form in FORMATS
    }
    for path in files:
        if path.exists():
            raise ExporterError(
                f"{path} exists; move it away, or write to another folder"
            )
    for path, (picture, form) in files.items():
        try:
            path.write_bytes(picture.encode(form))
        except OSError as error:
            raise ExporterError(
                f"{path}: can't be written: {error.strerror}; free space, or choose a "
                "folder that you may write to"
            ) from error
    return tuple(files)
