"""Oracle error: what a codec loses on perfect maps, without any network."""

import inspect
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from plugins.codecs import build_codec
from plugins.codecs.common.codec import Codec, Outputs
from plugins.codecs.common.offsets import OffsetCodec
from plugins.sizes import heatmap_size, parse_size

CHUNK = 1000
"""Joints at a time; their maps take 25 MB at 256x192."""


@dataclass(frozen=True)
class Oracle:
    """What one codec makes of joints that are uniform over the input.

    Attributes:
        codec: its name in plugins/codecs.
        implementation: ``ours`` or ``mmpose``.
        size: of the input, HxW.
        settings: what it was built with.
        joints: ``(N, 2)`` in input px.
        errors: ``(N, 2)``, decoded minus true, in input px.
        cell: ``(2,)`` input px per heatmap cell, along x and y.
        blank: share of the joints whose target map is zero everywhere.
    """

    codec: str
    implementation: str
    size: str
    settings: str
    joints: np.ndarray
    errors: np.ndarray
    cell: np.ndarray
    blank: float


def grid_of(size: str) -> tuple[int, int]:
    """Squares ``(across, down)`` between the centres of the heatmap's cells."""
    width, height = heatmap_size(parse_size(size))
    return width - 1, height - 1


def sample_joints(size: str, least: int) -> np.ndarray:
    """At least so many joints ``(N, 2)`` in input px, uniform from border to border.

    One joint at random in each square between cell centres, and that again: no part of
    the input is left out, and the borders weigh what they cover. The same for all
    codecs.
    """
    across, down = grid_of(size)
    squares = np.stack(np.meshgrid(np.arange(across), np.arange(down)), -1)
    repeats = -(-least // (across * down))
    corners = np.tile(squares.reshape(-1, 2), (repeats, 1))
    generator = np.random.default_rng(0)
    unit = (corners + generator.random(corners.shape)) / (across, down)
    return unit * (np.array(parse_size(size)) - 1)


def measure_ours(name: str, size: str, least: int) -> Oracle:
    """Encode joints by one of plugins/codecs, and decode the targets."""
    codec = build_codec(name, parse_size(size))
    joints = sample_joints(size, least)
    decoded, blank = [], []
    for chunk in torch.from_numpy(joints).split(CHUNK):
        target = codec.encode_batch(chunk[:, None], torch.ones(len(chunk), 1))
        found, scores = codec.decode_batch(perfect_outputs(target))
        decoded.append(found[:, 0].double().numpy())
        blank.append((scores[:, 0] == 0).numpy())
    units = (np.array(codec.input_size) - 1) / np.array(grid_of(size))
    return Oracle(
        codec=name,
        implementation="ours",
        size=size,
        settings=describe(settings_of(codec)),
        joints=joints,
        errors=np.concatenate(decoded) - joints,
        cell=units,
        blank=float(np.concatenate(blank).mean()),
    )


def perfect_outputs(target: Outputs) -> Outputs:
    """What a network without error gives, in the precision of a network.

    That is the target itself, for bins its logarithm; offsets outside the disc are
    zero, since nothing teaches a network others.
    """
    outputs: dict[str, Tensor] = {}
    for name, values in target.items():
        outputs[name] = (values.log() if name in ("x", "y") else values).float()
    return outputs


def settings_of(codec: Codec) -> dict[str, float]:
    """The numbers that a codec was built with or derived, by name."""
    names = [*inspect.signature(type(codec)).parameters]
    if isinstance(codec, OffsetCodec):
        names.append("radius")
    values = {name: getattr(codec, name, None) for name in names}
    return {name: v for name, v in values.items() if isinstance(v, int | float)}


def describe(settings: dict) -> str:
    """Settings in one entry of a table, such as ``sigma=1 kernel=3``."""
    return " ".join(f"{name}={value:g}" for name, value in settings.items())


def oracle_table(oracles: list[Oracle]) -> pd.DataFrame:
    """One row per codec, implementation and size.

    ``mean_px``, ``p99_px`` and ``max_px`` are distances in input px; ``off_half_cell``
    is the share of joints farther than half a cell from the truth, ``blank`` that of
    the joints whose target is empty.
    """
    rows = []
    for one in oracles:
        distance = np.linalg.norm(one.errors, axis=-1)
        in_cells = np.linalg.norm(one.errors / one.cell, axis=-1)
        rows.append(
            {
                "codec": one.codec,
                "implementation": one.implementation,
                "size": one.size,
                "settings": one.settings,
                "joints": len(distance),
                "mean_px": distance.mean(),
                "p99_px": np.quantile(distance, 0.99),
                "max_px": distance.max(),
                "off_half_cell": (in_cells > 0.5).mean(),
                "blank": one.blank,
            }
        )
    return pd.DataFrame(rows).round(5)
