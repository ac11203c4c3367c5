"""What the guide may shape, and what it may not."""

import numpy as np
import pytest

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.tomography import GuideSettings, guided_em, mlem, project

ANGLES_DEG = np.arange(-60.0, 61.0, 10.0)
SIZE, SLICES = 32, 8
SI, O, F = 0, 1, 2  # noqa: E741


def specimen():
    """A silicon core in a shell of O and F; one half of the shell is rich in F."""
    z, x, _ = np.meshgrid(
        *(np.arange(n) - (n - 1) / 2 for n in (SIZE, SIZE, SLICES)), indexing="ij"
    )
    radius = np.hypot(z, x)
    core, shell = radius < 6, (radius >= 6) & (radius < 12)
    volume = np.zeros((3, SIZE, SIZE, SLICES), np.float32)
    volume[SI][core] = 4.0
    volume[O][shell] = np.where(x[shell] > 0, 1.0, 3.0)
    volume[F][shell] = np.where(x[shell] > 0, 3.0, 1.0)
    return volume, shell, x


def measured(volume, level=0.2, seed=1):
    expected = project(volume, ANGLES_DEG) * level
    return np.random.default_rng(seed).poisson(expected).astype(np.float32)


def brightness(volume):
    return (2 * volume[SI] + volume[O] + volume[F]).astype(np.float32)


def error(found, truth):
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def test_guided_volumes_are_nearer_the_truth_than_unguided_ones() -> None:
    volume, _, _ = specimen()
    counts, level = measured(volume, 0.03), np.full(ANGLES_DEG.size, 0.03)

    guided = guided_em(
        counts, ANGLES_DEG, brightness(volume), exposure=level, alike=(O, F)
    )

    plain = mlem(counts, ANGLES_DEG, 4, exposure=level)
    for element in range(3):
        assert error(guided[element], volume[element]) < 0.8 * error(
            plain[element], volume[element]
        )


def test_what_the_guide_cannot_tell_apart_follows_the_counts() -> None:
    volume, shell, x = specimen()
    counts = measured(volume, level=1.0)

    guided = guided_em(
        counts,
        ANGLES_DEG,
        brightness(volume),
        alike=(O, F),
        settings=GuideSettings(share_voxels=3.0),
    )

    rich, poor = shell & (x > 3), shell & (x < -3)
    assert guided[F][rich].mean() > 1.8 * guided[F][poor].mean()
    assert guided[O][poor].mean() > 1.8 * guided[O][rich].mean()


def test_a_guide_that_lies_cannot_shift_the_share_of_alike_elements() -> None:
    volume, shell, x = specimen()
    counts = measured(volume, level=1.0)
    ghost = brightness(volume)
    ghost[shell & (x > 3)] *= 1.3

    share = []
    for guide in (brightness(volume), ghost):
        found = guided_em(counts, ANGLES_DEG, guide, alike=(O, F))
        inside = found[O] + found[F] > 1.0
        share.append(np.where(inside, found[F] / (found[O] + found[F] + 1e-9), np.nan))

    both = np.isfinite(share[0]) & np.isfinite(share[1])
    # but for the elements' totals, by which the share is scaled
    assert np.abs(share[0][both] - share[1][both]).max() < 0.02


def test_scaling_counts_scales_volumes_and_scaling_the_guide_does_nothing() -> None:
    volume, _, _ = specimen()
    counts, guide = measured(volume), brightness(volume)

    once = guided_em(counts, ANGLES_DEG, guide, alike=(O, F))
    twice = guided_em(2 * counts, ANGLES_DEG, 1000 * guide, alike=(O, F))

    np.testing.assert_allclose(twice, 2 * once, rtol=2e-3, atol=1e-4)


def test_counts_are_kept_and_nothing_is_negative() -> None:
    volume, _, _ = specimen()
    counts = measured(volume, level=1.0)
    circle = np.hypot(*np.mgrid[-15.5:16, -15.5:16]) < 15

    guided = guided_em(
        counts, ANGLES_DEG, brightness(volume), alike=(O, F), mask=circle
    )

    assert guided.min() >= 0
    assert not guided[:, ~circle].any()
    # one regression after the last step moves a little of them
    seen = project(guided, ANGLES_DEG).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(seen, counts.sum(axis=(1, 2, 3)), rtol=0.05)


def test_one_element_needs_no_axis_of_its_own() -> None:
    volume, _, _ = specimen()
    counts = measured(volume)

    alone = guided_em(counts[SI], ANGLES_DEG, brightness(volume))

    assert alone.shape == (SIZE, SIZE, SLICES)


def test_the_sum_rule_brings_the_elements_to_the_guide() -> None:
    volume, _, _ = specimen()
    counts, guide = measured(volume, level=1.0), brightness(volume)

    def off(sum_rule):
        settings = GuideSettings(sum_rule=sum_rule)
        found = guided_em(
            counts, ANGLES_DEG, guide, brightness=(2, 1, 1), settings=settings
        )
        return error(brightness(found), guide)

    assert off(0.5) < 0.5 * off(0.0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"guide": np.ones((SIZE, SIZE, 3))}, "give one volume"),
        ({"guide": np.full((SIZE, SIZE, SLICES), np.nan)}, "not finite"),
        ({"alike": (1, 3)}, "indices of the 3 elements"),
        ({"alike": (1, 1)}, "different indices"),
        ({"core": 3}, "index of one of the 3 elements"),
        ({"settings": GuideSettings(sum_rule=0.5)}, "needs the brightness"),
        ({"brightness": (1, 1)}, "each of the 3 elements"),
    ],
)
def test_what_does_not_fit_is_refused(change, text) -> None:
    given = {"guide": np.ones((SIZE, SIZE, SLICES)), **change}

    with pytest.raises(KernelInputError, match=text):
        guided_em(np.ones((3, ANGLES_DEG.size, SIZE, SLICES)), ANGLES_DEG, **given)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(KernelInputError, match="at least one step"):
        GuideSettings(n_iter=0)
    with pytest.raises(KernelInputError, match="values above 0"):
        GuideSettings(window_voxels=0)
    with pytest.raises(KernelInputError, match="give 0 to 1"):
        GuideSettings(sum_rule=2)
