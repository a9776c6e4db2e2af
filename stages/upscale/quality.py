"""PSNR and SSIM of a trained upscaler, beside bicubic interpolation."""

import torch
from torch import Tensor, nn

from plugins.image_quality import image_quality
from stages.upscale.pairs import Pairs
from stages.upscale.resample import resample

BATCH = 64


@torch.inference_mode()
def compare_upscalers(
    network: nn.Module, pairs: Pairs, device: torch.device
) -> dict[str, dict[str, float]]:
    """Mean PSNR (dB) and SSIM over persons, of what a pose network would see.

    All is upscaled with the context around the input, which is then cut off, so that
    no border is among what is compared. In 8 bits, as stores have it.
    """
    found: dict[str, list] = {"network": [], "bicubic": []}
    width, height = pairs.sharp.input_size
    margin = pairs.sharp.margin
    for start in range(0, len(pairs.low), BATCH):
        rows = slice(start, start + BATCH)
        crops = torch.from_numpy(pairs.low.crops[rows].copy()).to(device)
        low = crops.permute(0, 3, 1, 2).float() / 255
        truth = torch.from_numpy(pairs.sharp.inputs(rows)).to(device)
        grown = {
            "network": network(low),
            "bicubic": resample(low, pairs.sharp.geometry.crop_size, "bicubic"),
        }
        for name, images in grown.items():
            seen = images[..., margin : margin + height, margin : margin + width]
            seen = seen.mul(255).round_().clamp_(0, 255).to(torch.uint8)
            quality = image_quality(seen.permute(0, 2, 3, 1), truth)
            found[name].append(torch.stack(quality, dim=-1))
    return {name: _mean(parts) for name, parts in found.items()}


def _mean(parts: list[Tensor]) -> dict[str, float]:
    psnr, ssim = torch.cat(parts).mean(0).tolist()
    return {"psnr": psnr, "ssim": ssim}
