"""Makes a small scene for Blender; Blender's own Python runs it.

blender -b -P blender_scenes.py -- KIND scene.blend
"""

# ruff: noqa: ANN401 - the types of bpy are not declared
from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy

__all__ = ("KINDS", "make_scene")

SIZE, SAMPLES = 24, 4
LONG = 1_000_000
"""Samples of a frame that takes much longer than any test waits."""


def make_scene(kind: str, file: Path) -> None:
    """Save a scene with a cube, a lamp and a camera, changed as `kind` says."""
    bpy.ops.wm.read_factory_settings(use_empty=False)
    scene = bpy.context.scene
    render = scene.render
    render.engine = "CYCLES"
    render.resolution_x = render.resolution_y = SIZE
    render.resolution_percentage = 100
    render.image_settings.file_format = "PNG"
    render.filepath = "//out/f."
    scene.cycles.samples = SAMPLES
    scene.cycles.use_denoising = False
    scene.frame_start, scene.frame_end = 1, 3
    KINDS[kind](scene, file)
    bpy.ops.wm.save_as_mainfile(filepath=str(file))


def plain(scene: Any, file: Path) -> None:
    """The scene as it is."""


def long(scene: Any, file: Path) -> None:
    scene.cycles.samples = LONG
    scene.cycles.use_adaptive_sampling = False


def no_camera(scene: Any, file: Path) -> None:
    bpy.data.objects.remove(scene.camera)


def missing_texture(scene: Any, file: Path) -> None:
    """The cube's colour comes from an image that is deleted afterwards."""
    texture = file.parent / "tex" / "wood_diff.png"
    texture.parent.mkdir(exist_ok=True)
    image = bpy.data.images.new("wood_diff", 8, 8)
    image.filepath_raw, image.file_format = str(texture), "PNG"
    image.save()
    material = bpy.data.objects["Cube"].active_material
    material.use_nodes = True
    node = material.node_tree.nodes.new("ShaderNodeTexImage")
    bpy.data.images.remove(image)
    node.image = bpy.data.images.load(str(texture))
    shader = next(each for each in material.node_tree.nodes if each.type == "BSDF_PRINCIPLED")
    material.node_tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
    texture.unlink()


def missing_library(scene: Any, file: Path) -> None:
    """An object of the scene is linked from a file that is deleted afterwards."""
    library = file.parent / "assets" / "tree_lib.blend"
    library.parent.mkdir(exist_ok=True)
    bpy.data.objects["Cube"].name = "Tree"
    bpy.data.libraries.write(str(library), {bpy.data.objects["Tree"]})
    bpy.data.objects.remove(bpy.data.objects["Tree"])
    bpy.ops.wm.save_as_mainfile(filepath=str(file))  # for the relative name of the library
    with bpy.data.libraries.load(str(library), link=True, relative=True) as (_, wanted):
        wanted.objects = ["Tree"]
    scene.collection.objects.link(wanted.objects[0])
    bpy.ops.wm.save_as_mainfile(filepath=str(file))
    library.unlink()


def file_output(scene: Any, file: Path) -> None:
    """A node of the compositor writes a second file of each frame."""
    if hasattr(scene, "compositing_node_group"):  # since Blender 5.0
        tree = bpy.data.node_groups.new("Compositing", "CompositorNodeTree")
        scene.compositing_node_group = tree
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        layers = tree.nodes.new("CompositorNodeRLayers")
        last = tree.nodes.new("NodeGroupOutput")
        output = tree.nodes.new("CompositorNodeOutputFile")
        output.directory, output.file_name = "//out", "aux_"
        output.format.media_type = "IMAGE"
        output.format.file_format = "PNG"
        output.file_output_items.new("RGBA", "Image")
    else:
        scene.use_nodes = True
        tree = scene.node_tree
        layers = next(each for each in tree.nodes if each.type == "R_LAYERS")
        last = next(each for each in tree.nodes if each.type == "COMPOSITE")
        output = tree.nodes.new("CompositorNodeOutputFile")
        output.base_path = "//out"
        output.file_slots[0].path = "aux_"
        output.format.file_format = "PNG"
    tree.links.new(layers.outputs["Image"], last.inputs[0])
    tree.links.new(layers.outputs["Image"], output.inputs[0])


def stereo(scene: Any, file: Path) -> None:
    """Two views in files of their own."""
    scene.render.use_multiview = True
    scene.render.views_format = "STEREO_3D"
    scene.render.image_settings.views_format = "INDIVIDUAL"


def view_layers(scene: Any, file: Path) -> None:
    scene.view_layers.new("Foreground")


def skip_existing(scene: Any, file: Path) -> None:
    scene.render.use_overwrite = False


def movie(scene: Any, file: Path) -> None:
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):  # since Blender 5.0
        settings.media_type = "VIDEO"
    settings.file_format = "FFMPEG"
    scene.render.ffmpeg.format = "MPEG4"
    scene.render.filepath = "//out/movie.mp4"
    scene.render.use_file_extension = False


KINDS: dict[str, Callable[[Any, Path], None]] = {
    each.__name__: each
    for each in (
        plain, long, no_camera, missing_texture, missing_library, file_output, stereo, view_layers,
        skip_existing, movie,
    )
}  # fmt: skip

if __name__ == "__main__":
    kind, name = sys.argv[sys.argv.index("--") + 1 :]
    make_scene(kind, Path(name))
