"""Arnold in Softimage where it is known to have no licence: the images have watermarks."""

from __future__ import annotations

from parsers.xsi_arnold import xsi_arnold

__all__ = ("xsi_arnold_watermarked",)


class xsi_arnold_watermarked(xsi_arnold):
    """As `xsi_arnold`; the activity says so."""

    working = "rendering WATERMARKED.."
