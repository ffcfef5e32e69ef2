"""Images: reading and writing files, tone mapping, error metrics. Knows nothing of scenes or rendering."""

from nrc_tracer.imaging.files import check_writable, read_image, write_image
from nrc_tracer.imaging.image import Image
from nrc_tracer.imaging.metrics import mse, psnr, rel_mse
from nrc_tracer.imaging.tonemap import TONES, decode_srgb, encode_srgb, tone_map

__all__ = [
    "TONES",
    "Image",
    "check_writable",
    "decode_srgb",
    "encode_srgb",
    "mse",
    "psnr",
    "read_image",
    "rel_mse",
    "tone_map",
    "write_image",
]
