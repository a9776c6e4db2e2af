"""What every head does with a batch: targets, losses, predictions."""

import torch
from mmengine.model import BaseModule
from torch import Tensor

from plugins.codecs import build_codec
from plugins.codecs.common.codec import Outputs
from plugins.losses.common.objective import Objective


class BatchedHead(BaseModule):
    """A head that computes the targets of a whole batch at once.

    Its ``forward`` gives named outputs of the kind that its codec ``produces``.

    Attributes:
        codec: encodes the targets and decodes the outputs.
        objective: the losses.
    """

    @staticmethod
    def reads() -> str:
        """What it reads of the backbone.

        The ``finest`` map, ``all`` branches, or ``two`` finest maps from last stages of
        their own, where the backbone has such.
        """
        return "finest"

    def add_codec_and_losses(self, codec: dict, loss: dict, auxiliary: dict) -> None:
        """Take over what the method says; at the end of a head's ``__init__``.

        Args:
            codec: ``{"name", "input_size", ...}`` for ``build_codec``.
            loss, auxiliary: see ``Objective``.
        """
        self.codec = build_codec(**codec)
        self.objective = Objective(loss, auxiliary, self.codec)

    def loss(self, feats: tuple[Tensor, ...], batch: dict, train_cfg: dict) -> dict:
        """Losses of a batch: ``keypoints (N, K, 2)`` in input px, ``visible (N, K)``.

        Outputs are taken as float32, whatever the network's autocast.
        """
        outputs = {name: out.float() for name, out in self.forward(feats).items()}
        like = next(iter(outputs.values()))
        with torch.autocast(like.device.type, enabled=False):
            target = self.codec.encode_batch(batch["keypoints"], batch["visible"])
            target = {name: values.to(like) for name, values in target.items()}
            return self.objective(outputs, target)

    def forward(self, feats: tuple[Tensor, ...]) -> Outputs:
        """Named outputs of the backbone's features."""
        raise NotImplementedError
