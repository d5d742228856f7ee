"""The page: a farm's jobs, renders and tasks in browsers, and its steering, over HTTP."""

from __future__ import annotations
