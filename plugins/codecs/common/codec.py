"""The interface of every codec, batched and in MMPose's single-sample form."""

from abc import abstractmethod

import numpy as np
import torch
from mmpose.codecs.base import BaseKeypointCodec
from torch import Tensor

from plugins.constants import constant

Outputs = dict[str, Tensor]
"""What a head gives, by name: ``heatmaps``, ``offsets``, ``x``, ``keypoints``, ..."""


class Codec(BaseKeypointCodec):
    """Keypoints <-> what a network is trained to give.

    Coordinates are input pixels with pixel centres at integers.

    Args:
        input_size: input ``(w, h)`` in pixels.
        transform: between input and output; ``udp`` (unit lengths) or ``legacy``,
            which only codecs of plain heatmaps have.
    """

    produces: str
    """Kind of output that the network learns to give; equal ones are exchangeable."""
    reads: tuple[str, ...]
    """Kinds of output that ``decode_batch`` can read."""
    transforms: tuple[str, ...] = ("udp",)

    def __init__(self, input_size: tuple[int, int], transform: str = "udp") -> None:
        super().__init__()
        self.input_size = tuple(input_size)
        if transform not in self.transforms:
            raise ValueError(
                f"transform {transform!r}: {type(self).__name__} expects one of "
                f"{', '.join(self.transforms)}"
            )
        self.transform = transform

    @abstractmethod
    def encode_batch(self, keypoints: Tensor, visible: Tensor) -> Outputs:
        """Targets of a batch.

        Args:
            keypoints: ``(N, K, 2)`` in input pixels.
            visible: ``(N, K)``; above 0 where the keypoint is labelled.

        Returns:
            The codec's targets and ``weights (N, K)``: 1 where a keypoint is to be
            learnt, else 0; and ``keypoints (N, K, 2)`` in input pixels, finite.
        """

    @abstractmethod
    def decode_batch(self, outputs: Outputs) -> tuple[Tensor, Tensor]:
        """Keypoints ``(N, K, 2)`` in input pixels and scores ``(N, K)``."""

    @abstractmethod
    def soft_decode(self, outputs: Outputs) -> Tensor:
        """Keypoints ``(N, K, 2)`` in input pixels that gradients flow through."""

    @abstractmethod
    def mirror(self, outputs: Outputs, flip_indices: list[int]) -> Outputs:
        """Outputs of mirror images -> those of the images themselves (flip test).

        Args:
            flip_indices: index of each keypoint's mirror image.
        """

    def labelled(self, keypoints: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints with zeros for what is unknown, and which are known ``(N, K)``."""
        known = (visible > 0) & keypoints.isfinite().all(-1)
        return torch.where(known[..., None], keypoints, 0.0), known

    def last_pixel(self, like: Tensor) -> Tensor:
        """``(w - 1, h - 1)``: the input's unit lengths."""
        return constant(self.input_size, like) - 1

    def encode(
        self, keypoints: np.ndarray, keypoints_visible: np.ndarray | None = None
    ) -> dict:
        """MMPose's single-sample form of ``encode_batch`` (one person)."""
        if keypoints_visible is None:
            keypoints_visible = np.ones(keypoints.shape[:2], dtype=np.float32)
        target = self.encode_batch(
            torch.as_tensor(keypoints), torch.as_tensor(keypoints_visible)
        )
        weights = target.pop("weights").float().numpy()
        single = {name: values[0].float().numpy() for name, values in target.items()}
        return single | {"keypoint_weights": weights}

    def decode(
        self, encoded: np.ndarray | dict[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """MMPose's single-sample form of ``decode_batch``: heatmaps or outputs."""
        if not isinstance(encoded, dict):
            encoded = {"heatmaps": encoded}
        outputs = {name: torch.as_tensor(v)[None] for name, v in encoded.items()}
        keypoints, scores = self.decode_batch(outputs)
        return keypoints.numpy(), scores.numpy()
