"""Arnold in Softimage without a licence: the images have watermarks."""

from __future__ import annotations

from parsers.xsi_arnold import xsi_arnold

__all__ = ("xsi_arnold_watermarked",)


class xsi_arnold_watermarked(xsi_arnold):
    """As `xsi_arnold`, with another activity."""

    working = "rendering WATERMARKED.."
