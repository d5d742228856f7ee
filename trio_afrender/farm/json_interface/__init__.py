"""Afanasy's JSON interface to a farm: submit, watch and steer jobs and renders, on loopback."""

from __future__ import annotations

from trio_afrender.farm.json_interface.json_server import serve_json

__all__ = ("serve_json",)
