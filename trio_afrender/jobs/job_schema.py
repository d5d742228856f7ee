"""The JSON schema of a job file, for editors and for programs that write jobs. Pure.

It has the types and ranges of all keys. What needs the whole job (masks that are expressions, blocks that
wait for each other, sizes) is found by ``trio_afrender check job``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, assert_never

from trio_afrender.jobs.host_masks import MASK_TYPES
from trio_afrender.jobs.job_keys import (
    BLOCK_KEYS,
    JOB_KEYS,
    TASK_KEYS,
    Effect,
    JobKey,
    ValueKind,
    list_saved_keys,
)
from trio_afrender.jobs.json_fields import INT_LIMIT

__all__ = ("make_job_schema",)

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_COMMENTS = "^(p_|_|#|//|\\$schema$)"
"""Keys for people and other programs, and the progress that servers save."""
_NO_NUL = "^[^\\u0000]*$"


def make_job_schema() -> dict[str, Any]:
    """Return the schema, as JSON data.

    It is stricter than the parser in one thing: an unknown key is wrong, so that an editor marks it.
    """
    return {
        "$schema": _DIALECT,
        "title": "A job of an Afanasy farm",
        "type": "object",
        "anyOf": [
            {"required": ["job"], "properties": {"job": {"$ref": "#/$defs/job"}}},
            {
                "required": ["jobs"],
                "properties": {
                    "jobs": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 1,
                        "items": {"$ref": "#/$defs/job"},
                    }
                },
            },
            {
                "not": {"anyOf": [{"required": ["job"]}, {"required": ["jobs"]}]},
                "$ref": "#/$defs/job",
            },
        ],
        "$defs": {
            "job": {
                **_make_object(JOB_KEYS, "job"),
                "required": ["blocks"],
            },
            "block": {
                **_make_object(BLOCK_KEYS, "block"),
                "anyOf": [
                    {"required": ["tasks"]},
                    {"required": ["frame_first", "frame_last"]},
                ],
            },
            "task": _make_object(TASK_KEYS, "task"),
        },
    }


def _make_object(keys: Iterable[JobKey], level: str) -> dict[str, Any]:
    properties = {key.name: _make_value(key) for key in keys}
    properties |= {name: {} for name in sorted(list_saved_keys(level) - properties.keys())}
    return {
        "type": "object",
        "properties": properties,
        "patternProperties": {_COMMENTS: {}},
        "additionalProperties": False,
    }


def _make_value(key: JobKey) -> dict[str, Any]:
    effect = "" if key.effect is Effect.FULL else f" ({key.effect.value})"
    about = f"{key.text.replace(', see [below](#flags)', '')}{effect}".replace("`", "")
    made: dict[str, Any] = {"description": about}
    if key.effect is not Effect.OLD:
        made |= {"default": key.default, "examples": [key.example]}
    if key.effect is Effect.SERVER or (key.effect is Effect.OLD and key.kind is ValueKind.TEXT):
        return made  # neither the type nor the value is checked here
    text = {"type": "string", "pattern": _NO_NUL}
    match key.kind:
        case ValueKind.NUMBER:
            least = -INT_LIMIT if key.least is None else key.least
            made |= {"type": "integer", "minimum": least, "maximum": INT_LIMIT}
        case ValueKind.FLAG:
            made |= {"type": "boolean"}
        case ValueKind.CHOICE:
            made |= {"enum": [*MASK_TYPES, ""]}
        case ValueKind.TEXTS:
            made |= {"anyOf": [{"type": "array", "items": text}, text]}
        case ValueKind.TABLE:
            made |= {"type": "object", "additionalProperties": text}
        case ValueKind.OBJECTS if key.name == "blocks":
            made |= {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/block"}}
        case ValueKind.OBJECTS:
            made |= {"type": "array", "items": {"$ref": "#/$defs/task"}}
        case ValueKind.TEXT | ValueKind.MASK | ValueKind.PATTERN:
            made |= text
        case _:
            assert_never(key.kind)
    return made
