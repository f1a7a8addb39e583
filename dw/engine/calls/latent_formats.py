"""Latent formats: what the latents of a VAE look like, as a linear projection to RGB.

Source of the factors: latent-preview.h of stable-diffusion.cpp (MIT), which fitted them by least
squares to the latents that its models denoise; those of Stable Diffusion 3 are from sd3_impls.py of
Stability AI's sd3.5 (MIT). Both map a latent pixel to the colours from -1 to 1 of the image pixels
that it becomes. Here they are rounded to three places, a quarter of a grey level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Rgb = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class LatentFormat:
    """Of the VAEs of these classes whose config has these values.

    `factors` has a row for each channel. `patch`: the latents hold squares of so many pixels in
    their channels, as (channel, y, x).
    """

    vaes: tuple[str, ...]
    config: Mapping[str, Any]
    factors: tuple[Rgb, ...]
    bias: Rgb
    patch: int = 1

    @property
    def channels(self) -> int:
        """Of the latents."""
        return len(self.factors) * self.patch**2


def latent_format(vae: Any) -> LatentFormat | None:
    """The format of the latents that this VAE decodes; None where no factors are known."""
    return next((each for each in FORMATS if _fits(each, vae)), None)


def _fits(known: LatentFormat, vae: Any) -> bool:
    return type(vae).__name__ in known.vaes and all(
        _plain(vae.config.get(name)) == value for name, value in known.config.items()
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


_KL = ("AutoencoderKL", "AutoencoderKLTemporalDecoder")

FORMATS = (
    LatentFormat(
        _KL,
        {"latent_channels": 4, "scaling_factor": 0.18215},
        factors=(
            (0.337, 0.216, 0.257),
            (0.166, 0.387, 0.047),
            (-0.268, 0.237, 0.224),
            (-0.178, -0.201, -0.679),
        ),
        bias=(-0.017, -0.056, -0.106),
    ),
    LatentFormat(
        _KL,
        {"latent_channels": 4, "scaling_factor": 0.13025},
        factors=(
            (0.258, 0.278, 0.33),
            (-0.3, 0.105, 0.014),
            (0.051, 0.186, -0.143),
            (-0.212, -0.15, -0.08),
        ),
        bias=(0.144, -0.033, 0.007),
    ),
    LatentFormat(
        _KL,
        {"latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609},
        factors=(
            (-0.065, 0.018, 0.105),
            (0.003, 0.031, 0.065),
            (0.185, 0.076, 0.036),
            (0.094, 0.036, 0.089),
            (0.09, 0.051, -0.036),
            (-0.002, 0.12, 0.028),
            (0.086, 0.012, 0.028),
            (-0.054, 0.066, 0.105),
            (-0.006, 0.012, 0.07),
            (-0.041, 0.028, -0.004),
            (0.111, 0.117, 0.122),
            (-0.025, 0.068, -0.048),
            (0.082, 0.085, 0.121),
            (-0.012, -0.005, -0.087),
            (-0.075, -0.063, -0.046),
            (-0.142, -0.146, -0.126),
        ),
        bias=(0.0, 0.0, 0.0),
    ),
    LatentFormat(
        _KL,
        {"latent_channels": 16, "scaling_factor": 0.3611, "shift_factor": 0.1159},
        factors=(
            (-0.041, 0.02, 0.097),
            (0.028, 0.027, 0.13),
            (0.066, -0.068, -0.015),
            (-0.013, -0.015, 0.081),
            (0.079, 0.059, -0.025),
            (-0.016, -0.004, 0.005),
            (0.034, 0.139, 0.069),
            (-0.024, -0.064, -0.03),
            (-0.04, -0.017, 0.127),
            (0.113, 0.089, -0.042),
            (-0.023, 0.094, 0.026),
            (0.083, 0.048, 0.007),
            (0.076, 0.074, 0.082),
            (-0.144, 0.018, -0.136),
            (-0.026, -0.082, -0.04),
            (-0.112, -0.056, -0.032),
        ),
        bias=(0.025, -0.007, -0.008),
    ),
    LatentFormat(
        ("AutoencoderKLFlux2",),
        {"latent_channels": 32},
        factors=(
            (0.001, -0.008, -0.02),
            (-0.001, -0.016, 0.021),
            (-0.006, 0.002, 0.037),
            (0.039, 0.074, 0.12),
            (0.007, -0.006, -0.005),
            (-0.004, 0.005, 0.0),
            (-0.033, 0.051, -0.028),
            (-0.003, -0.001, 0.0),
            (-0.113, -0.084, -0.023),
            (0.001, -0.007, 0.001),
            (-0.01, -0.007, 0.01),
            (0.033, 0.0, -0.061),
            (0.011, 0.001, 0.007),
            (-0.001, -0.007, -0.002),
            (-0.006, -0.01, -0.004),
            (-0.028, 0.028, 0.018),
            (0.014, 0.012, 0.0),
            (0.01, 0.003, 0.002),
            (0.002, 0.006, 0.002),
            (0.053, -0.02, 0.009),
            (-0.003, 0.005, 0.001),
            (-0.002, -0.011, 0.004),
            (0.0, 0.015, -0.003),
            (-0.004, -0.002, 0.005),
            (-0.009, 0.011, 0.004),
            (0.011, 0.004, -0.004),
            (0.011, -0.006, 0.01),
            (0.008, 0.003, -0.001),
            (-0.003, -0.003, 0.004),
            (-0.035, -0.009, 0.013),
            (0.0, 0.001, -0.012),
            (0.018, 0.001, -0.012),
        ),
        bias=(-0.029, -0.098, -0.108),
        patch=2,
    ),
    LatentFormat(
        ("AutoencoderKLWan", "AutoencoderKLQwenImage"),
        {"z_dim": 16},
        factors=(
            (0.015, -0.148, 0.48),
            (0.004, -0.011, -0.037),
            (0.212, 0.063, 0.017),
            (0.233, 0.406, 0.22),
            (-0.052, -0.082, -0.069),
            (0.085, -0.161, 0.011),
            (-0.245, -0.507, -0.117),
            (-0.151, 0.018, 0.007),
            (-0.293, -0.208, -0.421),
            (-0.188, 0.051, 0.178),
            (-0.013, 0.266, 0.167),
            (0.028, 0.109, 0.109),
            (-0.205, 0.044, 0.149),
            (0.014, -0.049, -0.007),
            (0.217, 0.053, 0.32),
            (0.155, 0.083, 0.065),
        ),
        bias=(-0.27, -0.235, -0.457),
    ),
    LatentFormat(
        ("AutoencoderKLWan",),
        {"z_dim": 48},
        factors=(
            (0.017, -0.027, -0.019),
            (-0.114, -0.029, -0.023),
            (0.0, 0.021, 0.005),
            (-0.013, -0.107, -0.034),
            (0.0, 0.0, 0.026),
            (-0.014, -0.004, 0.041),
            (0.002, -0.001, 0.011),
            (0.029, -0.007, 0.036),
            (0.022, -0.016, 0.041),
            (-0.102, -0.07, -0.029),
            (0.033, -0.021, 0.003),
            (-0.105, 0.122, 0.103),
            (0.083, -0.005, 0.057),
            (-0.027, 0.032, 0.007),
            (-0.045, 0.029, 0.019),
            (-0.047, -0.013, 0.007),
            (0.075, 0.034, 0.025),
            (-0.008, -0.003, -0.007),
            (0.013, -0.062, -0.049),
            (0.042, -0.007, 0.0),
            (-0.008, -0.061, -0.033),
            (0.16, 0.046, 0.368),
            (0.095, 0.086, 0.01),
            (0.007, 0.02, 0.03),
            (0.003, -0.011, 0.014),
            (-0.1, -0.066, -0.006),
            (0.047, 0.037, 0.0),
            (-0.042, -0.089, -0.032),
            (0.009, 0.017, 0.019),
            (-0.042, 0.016, 0.007),
            (0.011, 0.036, 0.037),
            (0.012, -0.016, -0.049),
            (0.046, -0.027, 0.057),
            (0.01, -0.018, 0.03),
            (-0.046, -0.036, -0.011),
            (0.022, 0.04, -0.033),
            (-0.053, -0.016, 0.007),
            (0.193, 0.224, 0.264),
            (-0.059, -0.008, 0.023),
            (-0.157, -0.264, -0.007),
            (-0.016, 0.017, 0.034),
            (0.038, 0.11, 0.2),
            (-0.001, -0.01, -0.008),
            (0.011, 0.053, -0.044),
            (0.017, 0.046, 0.035),
            (0.009, 0.013, -0.002),
            (-0.025, -0.059, -0.034),
            (-0.078, 0.029, 0.026),
        ),
        bias=(0.013, -0.096, -0.071),
    ),
    # builtin:shapes: fitted by least squares to 300 of its scenes, with an R2 of 0.97.
    LatentFormat(
        _KL,
        {"latent_channels": 4, "scaling_factor": 1.0, "block_out_channels": [16, 32, 32]},
        factors=(
            (0.026, -0.047, -0.02),
            (-0.174, -0.057, -0.535),
            (-0.54, 0.038, 0.249),
            (-0.439, -0.604, -0.137),
        ),
        bias=(0.217, 0.002, -0.138),
    ),
)
