"""How near images come to others: PSNR and SSIM."""

from plugins import mmpose_compat

mmpose_compat.install()  # torchmetrics imports torchvision, which may need it

from torch import Tensor  # noqa: E402
from torchmetrics.functional.image import (  # noqa: E402
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)


def image_quality(images: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """PSNR in dB and SSIM of each image ``(B,)``, over all pixels and RGB.

    SSIM with a Gaussian window of 11 pixels, sigma 1.5 (Wang et al. 2004, section III).

    Args:
        images: ``(B, h, w, 3)`` uint8, 11 pixels or more along each axis; truth: same.
    """
    images, truth = (pixels.permute(0, 3, 1, 2).float() for pixels in (images, truth))
    of_image = dict(data_range=255.0, reduction="none")
    psnr = peak_signal_noise_ratio(images, truth, dim=(1, 2, 3), **of_image)
    ssim = structural_similarity_index_measure(images, truth, **of_image)
    return psnr, ssim.reshape(len(images))
