"""How near upscaled persons come to sharp ones."""

from pathlib import Path

import numpy as np

from plugins.datasets.crop_store import CropStore

PERSONS = 100
"""Evenly spread over the validation split: SSIM takes 15 ms each at 256x192."""


def store_quality(stores: Path, upscaled: str, sharp: list[str]) -> dict[str, float]:
    """Mean PSNR (dB) and SSIM of an upscaled store; NaN where there is no sharp one.

    Args:
        sharp: names of the stores to compare with, of which the first counts.
    """
    folders = [stores / name / "val" for name in [upscaled, *sharp[:1]]]
    if len(folders) < 2 or not all((one / "crops.npy").exists() for one in folders):
        return {"PSNR": float("nan"), "SSIM": float("nan")}
    # Imported here, since it needs torch, which little else here does.
    import torch

    from plugins.image_quality import image_quality

    ours, truth = (CropStore(folder) for folder in folders)
    rows = np.linspace(0, len(ours) - 1, min(PERSONS, len(ours))).round().astype(int)
    quality = [
        torch.stack(
            image_quality(
                *(torch.from_numpy(one.inputs([row])) for one in (ours, truth))
            )
        )
        for row in rows.tolist()
    ]
    psnr, ssim = torch.cat(quality, dim=1).mean(1).tolist()
    return {"PSNR": psnr, "SSIM": ssim}
