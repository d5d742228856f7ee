"""Softimage with Arnold as the renderer, without a licence."""

from __future__ import annotations

from services import service

__all__ = ("xsi_arnold_watermarked",)

parser = "xsi_arnold_watermarked"


class xsi_arnold_watermarked(service.service):
    """The base class as it is."""
