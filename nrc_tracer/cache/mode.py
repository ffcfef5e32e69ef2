"""What a radiance cache is used for."""

import enum


class CacheMode(str, enum.Enum):
    """What a radiance cache is used for in an image."""

    ON = "on"  # paths end in it, and some continue: what they find corrects the image, coarse to fine
    RAW = "raw"  # paths end in it
    UNBIASED = (
        "unbiased"  # some paths continue beyond their end in the cache, which corrects the prediction in each sample
    )
    VIEW = "view"  # its predictions at the first surface are shown

    def __str__(self) -> str:
        return self.value
