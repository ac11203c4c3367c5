"""What the demo promises of transfer, dose, counts and volumes.

Bands that a seed can move were measured over ten of them: the mean, and three times
the standard deviation below it (or on both sides). docs/reference/demo-thresholds.md
lists them with where each comes from.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from numpy.typing import NDArray

from cryoline.acquisition.demo_checks import Line

__all__ = ["count_lines", "dose_lines", "transfer_lines", "volume_lines"]

TRUTH_TOLERANCE: Final = 0.002
"""What the ledger has charged against what fell on the specimen."""

COLD_DEGC: Final = -140.0
"""Above, ice and electrolyte crystallise."""

NET_COUNTS: Final[Mapping[str, tuple[float, float]]] = {
    "Si": (12_200.0, 13_200.0),
    "O": (4_450.0, 5_000.0),
    "F": (2_680.0, 2_980.0),
    "C": (1_500.0, 1_670.0),
}
"""A tilt, background subtracted: mean -+ 3 sd over ten seeds."""

SI_CHANNEL: Final[tuple[float, float]] = (1_280.0, 1_390.0)
"""The highest channel of 10 eV of the silicon line: near 1000 in the papers."""

_SI_CHANNELS: Final = slice(166, 182)

PEAK_TO_BACKGROUND: Final[Mapping[str, tuple[float, float]]] = {
    "Si": (60.8, 74.3),
    "O": (35.4, 43.3),
    "F": (2.28, 2.78),
    "C": (15.3, 18.7),
}
"""Net counts over the continuum in the window: the mean over ten seeds -+ 10 %, which
is 3 sd or more."""

CORRELATION: Final[Mapping[str, float]] = {
    "Si": 0.924,
    "O": 0.715,
    "F": 0.672,
    "C": 0.613,
}
"""Of each volume with the truth: mean - 3 sd over ten seeds."""

HANDEDNESS: Final = 0.33
"""How the height of the wire's middle follows the truth: mean - 3 sd over ten seeds."""


def transfer_lines(log: Mapping[str, Sequence[Any]]) -> list[Line]:
    """Return how warm the specimen became, in which gas, and how long it met air.

    log: the columns of the stream ``transfer``
    """
    cold = [place in ("holder", "microscope") for place in log["carrier_place"]]
    warmest = [
        t
        for t, is_cold in zip(log["carrier_temperature_max_degc"], cold, strict=True)
        if is_cold
    ]
    return [
        Line(
            "warmest since cold",
            max(warmest, default=float("nan")),
            -200.0,
            COLD_DEGC,
            "degC",
            "crystallising",
        ),
        Line("time in air", log["carrier_air_s"][-1], 0.0, 15.0, "s", "route's limit"),
        Line(
            "box water, worst",
            max(log["glovebox_h2o_ppm"]),
            0.0,
            5.0,
            "ppm",
            "route's limit",
        ),
        Line(
            "box pressure, lowest",
            min(log["glovebox_pressure_mbar"]),
            1000.0,
            1013.0,
            "mbar",
            "above the room's",
        ),
    ]


def dose_lines(
    maps: Mapping[str, Sequence[float]],
    *,
    tilts: int,
    settled_e_per_nm2: float,
    limit_e_per_nm2: float,
    charged_c: float,
    fell_c: float,
) -> list[Line]:
    """Return the tilts that were mapped, and what they have cost by ledger and truth.

    maps: the columns of the stream ``primary``
    charged_c, fell_c: what the ledger charged, what truly fell on the specimen
    """
    return [
        Line("tilts", len(maps["seq_num"]), tilts, tilts, "", "scheme"),
        Line(
            "complete exposures",
            sum(outcome == 1 for outcome in maps["beam_outcome"]),
            tilts,
            tilts,
            "",
            "instrument",
        ),
        Line(
            "fluence used",
            100.0 * settled_e_per_nm2 / limit_e_per_nm2,
            0.0,
            100.0,
            "%",
            f"of {limit_e_per_nm2:.0e} e/nm2",
        ),
        Line(
            "charge by the ledger",
            1e9 * charged_c,
            1e9 * fell_c * (1 - TRUTH_TOLERANCE),
            1e9 * fell_c * (1 + TRUTH_TOLERANCE),
            "nC",
            "world's truth",
        ),
    ]


def count_lines(
    maps: Mapping[str, Sequence[float]], spectra: NDArray[Any]
) -> list[Line]:
    """Return each element's net counts a tilt, and its peak to background.

    maps: the columns of the derived stream ``maps``
    spectra: (tilt, channel), counts in channels of 10 eV
    """
    low, high = SI_CHANNEL
    peak = float(spectra[:, _SI_CHANNELS].mean(axis=0).max())
    lines = [Line("Si peak channel, a tilt", peak, low, high, "", "10 seeds")]
    for element, (low, high) in NET_COUNTS.items():
        net = maps[f"{element}_net"]
        lines.append(
            Line(
                f"{element} counts a tilt",
                sum(net) / len(net),
                low,
                high,
                "",
                "10 seeds",
            )
        )
    for element, (low, high) in PEAK_TO_BACKGROUND.items():
        net, ratio = maps[f"{element}_net"], maps[f"{element}_peak_to_background"]
        continuum = sum(n / r for n, r in zip(net, ratio, strict=True) if r)
        found = sum(net) / continuum if continuum else float("nan")
        lines.append(
            Line(f"{element} peak/background", found, low, high, "", "10 seeds")
        )
    return lines


def volume_lines(scores: Mapping[str, float]) -> list[Line]:
    """Return how well each element's volume fits the truth, and its handedness."""
    lines = [
        Line(f"{element} volume", scores[element], low, 1.0, "", "truth, 10 seeds")
        for element, low in CORRELATION.items()
    ]
    lines.append(
        Line("handedness", scores["handedness"], HANDEDNESS, 2.0, "", "truth, 10 seeds")
    )
    return lines
