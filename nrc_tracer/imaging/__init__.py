"""Images: reading and writing files, tone mapping, error metrics. Knows nothing of scenes or rendering."""

from nrc_tracer.imaging.denoising import check_denoiser, denoise
from nrc_tracer.imaging.files import check_writable, decode_image, read_image, write_image
from nrc_tracer.imaging.image import Image
from nrc_tracer.imaging.layer_files import LAYER_EXTENSIONS, layer_path, write_layers
from nrc_tracer.imaging.metrics import (
    BLOCK,
    BiasVariance,
    bias_and_variance,
    block_error,
    block_sums,
    check_metrics,
    decibels,
    flip,
    mse,
    psnr,
    rel_mse,
    relative_errors,
    relative_squared_errors,
    ssim,
)
from nrc_tracer.imaging.pixels import pixel_extension, write_pixels
from nrc_tracer.imaging.tonemap import TONES, decode_srgb, eight_bits, encode_srgb, tone_map

__all__ = [
    "BLOCK",
    "LAYER_EXTENSIONS",
    "TONES",
    "BiasVariance",
    "Image",
    "bias_and_variance",
    "block_error",
    "block_sums",
    "check_denoiser",
    "check_metrics",
    "check_writable",
    "decibels",
    "decode_image",
    "decode_srgb",
    "denoise",
    "eight_bits",
    "encode_srgb",
    "flip",
    "layer_path",
    "mse",
    "pixel_extension",
    "psnr",
    "read_image",
    "rel_mse",
    "relative_errors",
    "relative_squared_errors",
    "ssim",
    "tone_map",
    "write_image",
    "write_layers",
    "write_pixels",
]
