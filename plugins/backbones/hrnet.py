"""HRNet (Sun et al., CVPR 2019) for any input whose sides are multiples of 8."""

import copy

import torch
from mmpose.models.backbones.hrnet import HRModule, HRNet
from mmpose.registry import MODELS
from torch import nn

from plugins.registry import BACKBONES
from plugins.sizes import STRIDE

MINIMAL_CELLS = 2
"""A branch whose shorter side has fewer cells than this is left out."""


def count_branches(input_size: tuple[int, int]) -> int:
    """Branches (2 to 4) whose maps keep at least two cells on the shorter side.

    A stride-32 map of a 64x48 input would be 2 x 1.5 cells: mostly padding. CAL's
    stage 4 has three branches there for the same reason (arXiv 2109.09090).
    """
    branches = 2
    while branches < 4:
        if min(input_size) / (STRIDE * 2**branches) < MINIMAL_CELLS:
            break
        branches += 1
    return branches


class CroppedHRModule(HRModule):
    """HRNet's fusion where a map's side need not be a multiple of the next stride.

    A strided convolution gives ceil(side / 2) cells and nearest upsampling by 2 then
    gives one cell too many on the right and at the bottom, aligned at the left and
    top: the surplus is cut. Equal to ``HRModule`` wherever that runs.
    """

    def forward(self, branches: list[torch.Tensor]) -> list[torch.Tensor]:
        """Run and fuse the branches, each ``(N, C_i, H_i, W_i)``."""
        maps = [run(x) for run, x in zip(self.branches, branches, strict=True)]
        fused = []
        for i, layers in enumerate(self.fuse_layers):
            height, width = maps[i].shape[-2:]
            total = maps[i]
            for j, layer in enumerate(layers):
                if j != i:
                    total = total + layer(maps[j])[..., :height, :width]
            fused.append(self.relu(total))
        return fused


@BACKBONES.register_module("hrnet")
@MODELS.register_module()
class SizedHRNet(HRNet):
    """HRNet that has as many branches as its input's size can feed.

    Args:
        input_size: input ``(w, h)`` in pixels.
        widths: channels of the branches at stride 4, 8, 16 and 32.
        modules: fusion modules in stages 2, 3 and 4.
        blocks: basic blocks per branch and module.
        stem_width: channels of the first convolution, at stride 2 (published: 64).
        stage1: block type, count and width of stage 1, at stride 4 (published: four
            bottlenecks of 64, 256 channels out).
        features: ``finest``: the map at stride 4; ``two``: two of them, each from a
            stage 4 of its own (CAL, arXiv 2109.09090); ``all``: every branch's map.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        widths: list[int],
        modules: list[int],
        blocks: int,
        stem_width: int,
        stage1: dict,
        features: str = "finest",
        init_cfg: dict | list | None = None,
    ) -> None:
        limit = count_branches(input_size)

        def stage(number: int) -> dict:
            branches = min(number, limit)
            return dict(
                num_modules=modules[number - 2],
                num_branches=branches,
                block="BASIC",
                num_blocks=(blocks,) * branches,
                num_channels=tuple(widths[:branches]),
            )

        first = dict(
            num_modules=1,
            num_branches=1,
            block=stage1["block"],
            num_blocks=(stage1["blocks"],),
            num_channels=(stage1["width"],),
        )
        last = stage(4) | {"multiscale_output": features == "all"}
        extra = dict(stage1=first, stage2=stage(2), stage3=stage(3), stage4=last)
        published = dict() if init_cfg is None else dict(init_cfg=init_cfg)
        super().__init__(extra=extra, **published)
        self.features = features
        self._set_stem_width(stem_width)
        if features == "two":
            self.second_transition = copy.deepcopy(self.transition3)
            self.second_stage = copy.deepcopy(self.stage4)
        for module in self.modules():
            if isinstance(module, HRModule):
                module.__class__ = CroppedHRModule

    def _set_stem_width(self, width: int) -> None:
        """Narrow the two stem convolutions, whose 64 channels MMPose fixes."""
        if width == self.conv1.out_channels:
            return
        kernel = dict(kernel_size=3, stride=2, padding=1, bias=False)
        self.conv1 = nn.Conv2d(3, width, **kernel)
        self.add_module(self.norm1_name, nn.BatchNorm2d(width))
        self.conv2 = nn.Conv2d(width, 64, **kernel)

    @staticmethod
    def channels(network: dict, features: str) -> list[int]:
        """Channels of each map that ``forward`` gives with these settings."""
        widths = network["widths"]
        if features == "all":
            return widths[: count_branches(network["input_size"])]
        return widths[:1] * (2 if features == "two" else 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map ``(N, 3, H, W)`` to features, each ``(N, C, H / stride, W / stride)``."""
        x = self.relu(self.norm1(self.conv1(x)))
        x = self.relu(self.norm2(self.conv2(x)))
        maps = [self.layer1(x)]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
        ):
            maps = stage(_enter(transition, maps))
        last = self.stage4(_enter(self.transition3, maps))
        if self.features == "all":
            return tuple(last)
        if self.features == "finest":
            return (last[0],)
        second = self.second_stage(_enter(self.second_transition, maps))
        return last[0], second[0]


def _enter(transition: nn.ModuleList, maps: list[torch.Tensor]) -> list[torch.Tensor]:
    """A stage's inputs: the maps before it, and new ones made of the coarsest."""
    return [
        maps[i] if layer is None else layer(maps[-1])
        for i, layer in enumerate(transition)
    ]
