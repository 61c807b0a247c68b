"""Pixel measures: PSNR and SSIM of frames in [0, 1], one number per frame."""

from torch import Tensor

try:
    from torchmetrics.functional.image import structural_similarity_index_measure
except ImportError as error:
    raise ImportError("SSIM needs torchmetrics: pip install 'flam-env[train]'") from error

MSE_FLOOR = 1e-10  # caps the PSNR of an exact frame at 100 dB


def frame_psnr(predicted: Tensor, true: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each frame: (..., 3, H, W) in [0, 1] -> (...), at most 100."""
    error = (predicted - true).square().mean((-3, -2, -1))
    return -10 * error.clamp(min=MSE_FLOOR).log10()


def frame_ssim(predicted: Tensor, true: Tensor) -> Tensor:
    """Structural similarity of each frame: (B, 3, H, W) in [0, 1] -> (B,).

    Wang et al. 2004: Gaussian window of 11 px with sigma 1.5, K = (.01, .03), population covariance, the border of
    5 px that the window cannot cover left out, mean over the RGB channels.
    """
    _, full = structural_similarity_index_measure(
        predicted,
        true,
        gaussian_kernel=True,
        sigma=1.5,
        kernel_size=11,
        k1=0.01,
        k2=0.03,
        data_range=1.0,
        reduction="none",
        return_full_image=True,
    )
    return full[..., 5:-5, 5:-5].mean((-3, -2, -1))
