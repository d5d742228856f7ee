"""Afanasy's JSON interface to a farm: submit, watch and steer jobs and renders, on loopback."""

from __future__ import annotations

__all__ = ()
