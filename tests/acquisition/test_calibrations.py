"""Calibrations by their age: what is too old pays for nothing."""

from datetime import date
from typing import Any

import pytest

from cryoline.acquisition.calibrations import CalibrationsSection, refuse_old
from cryoline.acquisition.errors import PlanRefused

TODAY = date(2026, 11, 24)


def section(day: str = "2026-11-20", **changes: Any) -> CalibrationsSection:
    common = {"date": day, "by": "N. N.", "max_age_days": 30}
    return CalibrationsSection.model_validate(
        {
            "pixel_size": {"pixel_nm": 2.134, **common},
            "image_shift": {"seen_over_asked": 1.02, **common},
            **changes,
        }
    )


def test_calibration_holds_to_its_last_day() -> None:
    refuse_old(section("2026-10-25"), TODAY)
    refuse_old(CalibrationsSection(), TODAY)
    with pytest.raises(PlanRefused) as refusal:
        refuse_old(section("2026-10-24"), TODAY)
    first, second = str(refusal.value).splitlines()
    assert first == (
        "calibration: the pixel size of 2026-10-24, by N. N., is 31 days old (limit 30 "
        "days); calibrate again, and write value and date into "
        "[calibrations.pixel_size]"
    )
    assert "the image shift of 2026-10-24" in second


def test_date_that_has_not_come_is_refused() -> None:
    with pytest.raises(PlanRefused, match="2 days ahead; is this computer's clock"):
        refuse_old(section("2026-11-26"), TODAY)


def test_what_the_ledger_keeps_says_value_date_and_age() -> None:
    found = [c.as_dict() for c in section().as_of(TODAY)]

    assert [c["name"] for c in found] == ["pixel_size", "image_shift"]
    assert found[0] == {
        "name": "pixel_size",
        "values": {"pixel_nm": 2.134},
        "date": "2026-11-20",
        "by": "N. N.",
        "age_days": 4,
        "max_age_days": 30.0,
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"pixel_nm": 2.0, "pixel_nm_by_magnification": {"1000": 2.0}},
        {"pixel_nm": 0.0},
        {"pixel_nm": float("nan")},
        {"pixel_nm": 2.0, "max_age_days": -1},
        {"pixel_nm": 2.0, "by": ""},
        {"pixel_nm": 2.0, "date": "yesterday"},
    ],
)
def test_calibration_that_says_nothing_is_no_configuration(wrong) -> None:
    common = {"date": "2026-11-20", "by": "N. N.", "max_age_days": 30}
    with pytest.raises(ValueError, match="pixel_size"):
        CalibrationsSection.model_validate({"pixel_size": common | wrong})
