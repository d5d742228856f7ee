"""Afanasy's JSON interface to a farm: submit, watch and steer jobs and renders, on loopback."""

from __future__ import annotations

from trio_afrender.farm.json_interface.in_process_farm import make_in_process_farm
from trio_afrender.farm.json_interface.json_server import keep_requests, open_requests, serve_json

__all__ = ("keep_requests", "make_in_process_farm", "open_requests", "serve_json")
