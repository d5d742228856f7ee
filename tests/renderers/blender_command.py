"""Plays Blender's command line in the Python module `bpy`, which comes without the program.

    python blender_command.py -b scene.blend -E CYCLES -s 1 -e 4 -a

Arguments act in their order, as in Blender. What Blender's own code prints comes from `bpy`, the errors
that its operators raise too; printed here are the first and the last line and an unknown engine, as in
`creator.cc` and `creator_args.cc` of Blender's sources. As there, a failed render does not change the
exit code 0, and a file that cannot be opened ends the program with 1.
"""

from __future__ import annotations

import contextlib
import runpy
import sys
from collections.abc import Callable, Iterator

import bpy

__all__ = ("main",)


def main(arguments: list[str]) -> None:
    """Do what the arguments ask for; raises SystemExit if that is impossible."""
    say(f"Blender {bpy.app.version_string}")
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            break
        if argument in _OPTIONS:
            _OPTIONS[argument](rest)
        elif not argument.startswith("-"):
            open_file(argument)
    say("\nBlender quit")


def open_file(name: str) -> None:
    """Open a scene."""
    try:
        bpy.ops.wm.open_mainfile(filepath=name)
    except RuntimeError as error:
        say("X" + str(error).strip())
        raise SystemExit(1) from None


def set_engine(rest: Iterator[str]) -> None:
    engine = next(rest)
    try:
        bpy.context.scene.render.engine = engine
    except TypeError:
        say(f"\nError: engine not found '{engine}'")
        raise SystemExit(1) from None


def set_first(rest: Iterator[str]) -> None:
    bpy.context.scene.frame_start = int(next(rest))


def set_last(rest: Iterator[str]) -> None:
    bpy.context.scene.frame_end = int(next(rest))


def set_output(rest: Iterator[str]) -> None:
    bpy.context.scene.render.filepath = next(rest)


def render_animation(rest: Iterator[str]) -> None:
    """Render the frames of the scene; a failure is printed and changes nothing more."""
    with contextlib.suppress(RuntimeError):
        bpy.ops.render.render(animation=True)


def render_frame(rest: Iterator[str]) -> None:
    """Render one frame into its file: an animation of one frame."""
    number = int(next(rest))
    bpy.context.scene.frame_start = bpy.context.scene.frame_end = number
    render_animation(rest)


def run_script(rest: Iterator[str]) -> None:
    runpy.run_path(next(rest), run_name="__main__")


def skip_value(rest: Iterator[str]) -> None:
    next(rest)


def do_nothing(rest: Iterator[str]) -> None:
    """The module is always in the background."""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()  # the C code has a buffer of its own


_OPTIONS: dict[str, Callable[[Iterator[str]], None]] = {
    "-b": do_nothing,
    "-E": set_engine,
    "-s": set_first,
    "-e": set_last,
    "-o": set_output,
    "-a": render_animation,
    "-f": render_frame,
    "-t": skip_value,
    "-P": run_script,
}

if __name__ == "__main__":
    main(sys.argv[1:])
