"""Every codec: settings, transforms, and who decodes whose outputs."""

import itertools

import pytest

from plugins.codecs import build_codec, decoders_for
from plugins.registry import CODECS
from plugins.sizes import parse_size
from stages.evaluate.predict import fitting_decoders
from tests.codec_cases import (
    NAMES,
    PLAIN,
    SIZE,
    SIZES,
    parametrize_variants,
    perfect_outputs,
    uniform_joints,
)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PLAIN)
def test_the_scales_of_both_transforms(name, size):
    width, height = parse_size(size)
    unit = build_codec(name, (width, height)).scale
    expected = [(width - 1) / (width // 4 - 1), (height - 1) / (height // 4 - 1)]
    assert unit.tolist() == expected
    legacy = build_codec(name, (width, height), transform="legacy").scale
    assert legacy.tolist() == [4, 4]


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(PLAIN)))
def test_only_plain_heatmaps_have_the_legacy_transform(name):
    message = f"transform 'legacy': {CODECS.get(name).__name__} expects one of udp$"
    with pytest.raises(ValueError, match=message):
        build_codec(name, SIZE, transform="legacy")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("darc", {}, "codec 'darc': expected one of argmax, cal, dark"),
        ("udp", {"transform": "udb"}, "transform 'udb': .* one of udp, legacy"),
        *(
            (name, {"sigma": sigma}, "sigma .*positive number of cells")
            for name in (*PLAIN, "cal", "integral")
            for sigma in (0, -1.0)
        ),
        *((name, {"kernel": kernel}, "kernel .*odd")
          for name in ("dark", "udp") for kernel in (0, 4, -1)),
        ("udp_offset", {"kernel": -1}, "kernel -1: expected 0 or more"),
        ("udp_offset", {"radius_factor": 0.0}, "radius_factor 0.0: .*more than 0"),
        ("cal", {"radius": 0}, "radius 0, .*positive"),
        ("cal", {"unit": -1.5}, "unit -1.5: .*positive"),
        ("quadfit", {"radius": 0}, "radius 0: expected at least one cell"),
        ("simcc", {"split": 0}, "split 0: .*at least one bin"),
        ("simcc", {"target": "hot"}, "target 'hot': .*gaussian, one_hot"),
        ("simcc", {"sigma": 0}, "sigma 0: .*positive number of bins"),
    ],
)  # fmt: skip
def test_errors_say_what_was_expected(name, settings, message):
    with pytest.raises(ValueError, match=message):
        build_codec(name, SIZE, **settings)


@pytest.mark.parametrize(
    ("name", "unknown"),
    [("msra", "kernel"), ("regression", "sigma"), ("udp_offset", "sigma")],
)
def test_settings_that_a_codec_does_not_have_are_refused(name, unknown):
    with pytest.raises(TypeError, match=unknown):
        build_codec(name, SIZE, **{unknown: 3})


# Decoders of the same outputs.

READERS = {
    "argmax": set(PLAIN),
    "dark": set(PLAIN),
    "msra": set(PLAIN),
    "quadfit": set(PLAIN),
    "udp": set(PLAIN),
    "cal": {"cal", *PLAIN},
    "udp_offset": {"udp_offset", "argmax"},
    "integral": {"integral"},
    "regression": {"regression"},
    "simcc": {"simcc"},
}


@pytest.mark.parametrize("name", NAMES)
def test_decoders_of_a_codec_s_outputs(name):
    own = build_codec(name, SIZE)
    decoders = decoders_for(own)
    assert set(decoders) == READERS[name]
    outputs = perfect_outputs(own, uniform_joints(SIZE, 3, margin=8))
    expected, _ = own.decode_batch(outputs)
    # Half a cell's diagonal; and any cell of a disc may be the largest.
    apart = own.radius * 4.3 if name == "udp_offset" else 3.1
    for codec in decoders.values():
        assert codec.input_size == SIZE
        decoded, _ = codec.decode_batch(outputs)
        assert (decoded - expected).norm(dim=-1).max() < apart


def test_every_kind_of_output_that_is_read_is_produced():
    codecs = CODECS.module_dict.values()
    read = set(itertools.chain.from_iterable(codec.reads for codec in codecs))
    assert read == {codec.produces for codec in codecs}


@pytest.mark.parametrize("transform", ["udp", "legacy"])
def test_decoders_take_over_sigma_and_transform(transform):
    own = build_codec("udp", SIZE, sigma=1.5, transform=transform)
    decoders = decoders_for(own)
    assert set(decoders) == set(PLAIN)
    assert {codec.sigma for codec in decoders.values()} == {1.5}
    assert {codec.transform for codec in decoders.values()} == {transform}
    assert decoders["dark"].kernel == 7
    assert decoders["quadfit"].radius == 3


@parametrize_variants()
def test_evaluation_decodes_with_the_codec_itself_first(name, settings):
    """With all of its settings, for which the network was trained."""
    own = build_codec(name, SIZE, **settings)
    decoders = fitting_decoders(name, own)
    assert next(iter(decoders)) == name
    assert decoders[name] is own
    assert set(decoders) == set(decoders_for(own))
