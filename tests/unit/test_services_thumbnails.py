"""The thumbnails that a service makes: of which files, their names, the commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.host_paths import as_here, split_command

from services import _thumbnail_commands
from services.service import service
from trio_afrender.config.settings import PluginSettings
from trio_afrender.text import clean_name

SKIP_THUMBNAILS = 32
BUILT_IN = PluginSettings(thumbnail_extensions=("exr", "png", "dpx"))
STUDIO = PluginSettings(
    thumbnail_extensions=("exr", "png", "dpx"),
    thumbnail_command='convert "%(image)s" %(pre_args)s -resize 50%% "%(thumbnail)s"',
)


class TaskFolders:
    """The working and the store folder of a task, and services for it."""

    def __init__(self, folder: Path) -> None:
        self.work, self.store = folder / "work", folder / "store"
        self.work.mkdir()
        self.store.mkdir()

    def write(self, *names: str) -> None:
        for name in names:
            (self.work / name).parent.mkdir(parents=True, exist_ok=True)
            (self.work / name).write_bytes(b"x")

    def make_service(self, settings: PluginSettings = BUILT_IN, **info: object) -> service:
        new = service.__new__(service)
        new.settings = settings
        new.__init__(  # type: ignore[misc] # as the plugin host does it
            {"wdir": str(self.work), "store_dir": str(self.store), "block_flags": 1, **info}, False
        )
        return new

    def images(self, commands: list[str]) -> list[str]:
        """The images of built-in commands, relative to the working folder."""
        return [str(Path(split_command(line)[-2]).relative_to(self.work)) for line in commands]


@pytest.fixture
def folders(tmp_path: Path) -> TaskFolders:
    return TaskFolders(tmp_path)


def test_the_built_in_command(folders: TaskFolders) -> None:
    folders.write("a b.exr")
    commands = folders.make_service(files_block=["a b.exr"]).doPost()
    assert [split_command(command) for command in commands] == [
        [sys.executable, "-E", "-P", "-m", "trio_afrender.thumbnail", "--",
         str(folders.work / "a b.exr"), str(folders.store / "a b.exr.jpg")]
    ]  # fmt: skip


def test_the_files_of_the_block(folders: TaskFolders) -> None:
    names = [f"a.{frame}.png" for frame in range(1, 7)]
    folders.write(*names)
    made = folders.make_service(files_block=["a.@#@.png"], frame_start=1, frame_finish=6)
    assert folders.images(made.doPost()) == ["a.1.png", "a.4.png", "a.6.png"]
    made = folders.make_service(files_block=["a.@#@.png"], frame_start=1, frame_finish=3)
    assert folders.images(made.doPost()) == ["a.1.png", "a.2.png", "a.3.png"]


def test_of_many_files_the_existing_images_count(folders: TaskFolders) -> None:
    folders.write(*(f"a.{frame}.png" for frame in (2, 3, 5, 6, 8)), "a.1.txt", "a.9.txt", "b.txt")
    names = ["b.txt", "a.1.txt", *(f"a.{frame}.png" for frame in range(1, 10)), "a.9.txt", "none"]
    commands = folders.make_service(files_block=names).doPost()
    assert folders.images(commands) == ["a.2.png", "a.5.png", "a.8.png"]


@pytest.mark.parametrize("parsed", ["a.abc", "none.png"])
def test_a_parser_without_images_leaves_those_of_the_block(
    folders: TaskFolders, parsed: str
) -> None:
    folders.write("a.abc", "b.png")
    made = folders.make_service(files_block=["b.png"], parser="generic")
    made.parse({"data": f"@IMAGE@{parsed}\n"})
    assert folders.images(made.doPost()) == ["b.png"]


def test_files_of_the_parser_come_before_those_of_the_block(folders: TaskFolders) -> None:
    folders.write("a.png", "b.png", "c.png", "d.png", "e.png")
    made = folders.make_service(files_block=["a.png"], parser="generic")
    assert folders.images(made.doPost()) == ["a.png"]
    made.parse({"data": "".join(f"@IMAGE@{name}.png\n" for name in "bcde")})
    assert folders.images(made.doPost()) == ["b.png", "d.png", "e.png"]


def test_files_on_the_fly(folders: TaskFolders) -> None:
    folders.write(*(f"{name}.png" for name in "abcdefg"))
    made = folders.make_service(
        files_block=["a.png"], parser="generic", block_flags=1 | SKIP_THUMBNAILS
    )
    assert made.generateThumbnail(True) == []
    made.parse({"data": "".join(f"@IMAGE!@{name}.png\n" for name in "bcdef")})
    assert folders.images(made.generateThumbnail(True)) == [f"{name}.png" for name in "bcdef"]
    assert folders.images(made.generateThumbnail(True, [str(folders.work / "g.png")])) == ["g.png"]
    assert folders.make_service().generateThumbnail(True) == []


def test_no_thumbnails(folders: TaskFolders) -> None:
    folders.write("a.png", "b.txt", "c")
    assert (
        folders.make_service(files_block=["a.png"], block_flags=1 | SKIP_THUMBNAILS).doPost() == []
    )
    assert folders.make_service(files_block=["gone.png", "b.txt", "c", ""]).doPost() == []
    assert folders.make_service(files_block=["a.png"], store_dir="/nowhere/at/all").doPost() == []
    no_images = PluginSettings(thumbnail_extensions=())
    assert folders.make_service(no_images, files_block=["a.png"]).doPost() == []
    assert folders.make_service().doPost() == []


def test_extensions_are_compared_without_case(folders: TaskFolders) -> None:
    folders.write("A.PNG", "b.png.exr")
    assert len(folders.make_service(files_block=["A.PNG", "b.png.exr"]).doPost()) == 2


def test_equal_names_of_two_folders(folders: TaskFolders) -> None:
    folders.write("left/a.png", "right/a.png", "A.png", "a.png.2.png")
    made = folders.make_service(files_block=["left/a.png", "right/a.png"], parser="generic")
    first = [Path(split_command(line)[-1]).name for line in made.doPost()]
    assert first == ["a.png.jpg", "a.png.2.jpg"]
    assert [Path(split_command(line)[-1]).name for line in made.doPost()] == first
    other = made.generateThumbnail(True, ["A.png"])
    assert split_command(other[0])[-1].endswith(as_here("/A.png.3.jpg"))


@given(names=st.lists(st.sampled_from(["a/x.png", "b/x.png", "c/X.PNG", "x.png.2", "d/x.png"])))
def test_names_never_collide(names: list[str]) -> None:
    maker = _thumbnail_commands.ThumbnailNames("/nowhere")
    made = {name: maker.name(name) for name in names}
    assert len({name.casefold() for name in made.values()}) == len(made)
    assert {name: maker.name(name) for name in names} == made


def test_every_server_accepts_the_names() -> None:
    maker = _thumbnail_commands.ThumbnailNames("/nowhere")
    names = [maker.name(f"/x/{name}.exr") for name in ("a\nb", "a\\b", "a_b", "\x1b[1m", "\udcff")]
    assert names == ["a_b.exr.jpg", "a_b.exr.2.jpg", "a_b.exr.3.jpg", "_[1m.exr.jpg", "?.exr.jpg"]
    assert all(clean_name(name) == name for name in names)


def test_names_are_stored_and_avoid_other_files(tmp_path: Path) -> None:
    (tmp_path / "c.exr.JPG").touch()  # a file of the task
    maker = _thumbnail_commands.ThumbnailNames(str(tmp_path))
    first = [maker.name(f"/{folder}/a.exr") for folder in ("x", "y")]
    again = _thumbnail_commands.ThumbnailNames(str(tmp_path))
    assert [again.name(f"/{folder}/a.exr") for folder in ("y", "z", "x")] == [
        "a.exr.2.jpg",
        "a.exr.3.jpg",
        "a.exr.jpg",
    ]
    assert first == ["a.exr.jpg", "a.exr.2.jpg"]
    assert again.name("/x/c.exr") == "c.exr.2.jpg"
    (tmp_path / ".thumbnails.json").write_text('{"/x/a.exr": 7}')
    assert _thumbnail_commands.ThumbnailNames(str(tmp_path)).name("/new/b.exr") == "b.exr.jpg"


def test_long_names_keep_their_end() -> None:
    name = _thumbnail_commands.ThumbnailNames("/nowhere").name("/x/" + "é" * 120 + ".0001.exr")
    assert len(name.encode()) <= 200
    assert name.endswith("é.0001.exr.jpg")


def test_no_thumbnail_has_the_name_of_a_hidden_file() -> None:
    """Those are not sent."""
    maker = _thumbnail_commands.ThumbnailNames("/nowhere")
    assert maker.name("/x/.a.exr") == "_a.exr.jpg"
    cut = maker.name("/x/" + "a" * 20 + "." + "b" * 150 + ".0001.exr")  # cut at the dot
    assert cut == "_" + "b" * 150 + ".0001.exr.jpg"


def test_without_openimageio(folders: TaskFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    folders.write("a.png", "b.png")
    monkeypatch.setattr(_thumbnail_commands, "find_spec", lambda name: None)
    made = folders.make_service(files_block=["a.png", "b.png"])
    assert made.doPost() == []
    assert made.log.count('install the extra "thumbnails"') == 1


# A studio's own command.


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.exr", " -set colorspace RGB"),
        ("a.dpx", " -set colorspace Log"),
        ("a.png", " "),
    ],
)
def test_a_studios_command(folders: TaskFolders, name: str, options: str) -> None:
    folders.write(name)
    made = folders.make_service(STUDIO, files_block=[name])
    start = f'convert "{folders.work / name}" {options.strip()} -resize 50%'
    assert made.doPost() == [f'{start} "{folders.store / name}.jpg"']
    assert made.taskInfo["image"] == str(folders.work / name)
    assert made.taskInfo["thumbnail"] == f"{folders.store / name}.jpg"
    assert made.taskInfo["pre_args"] == options.strip()


ODD_NAMES = [
    "a b.png", "a'b.png", 'a"b.png', "a`id`.png", "a$(id)$HOME.png", "a\\b.png", "a\nb.png", "-a.png",
    "a;id|x&y>z.png", "a%(image)s%d.png", "é\u2028.png", "*?[a]~#!.png",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_no_name_breaks_the_built_in_command(folders: TaskFolders, name: str) -> None:
    folders.write(name)
    (command,) = folders.make_service().generateThumbnail(False, [name])
    plain = "".join(char if char.isprintable() and char != "\\" else "_" for char in name)
    assert split_command(command)[-2:] == [
        str(folders.work / name),
        str(folders.store / f"{plain}.jpg"),
    ]


def test_the_template_may_use_any_value_of_the_task(folders: TaskFolders) -> None:
    folders.write("a.png")
    chosen = PluginSettings(
        thumbnail_extensions=("png",),
        thumbnail_command="t -n %(frame_start)03d -j %(job_name)s '%(job_name)s' %(image)s",
    )
    (command,) = folders.make_service(
        chosen, files_block=["a.png"], frame_start=7, frame_finish=7, job_name="it's"
    ).doPost()
    assert split_command(command) == [
        "t",
        "-n",
        "007",
        "-j",
        "it's",
        "it's",
        str(folders.work / "a.png"),
    ]


@pytest.mark.parametrize(
    "template", ["t %(nonsense)s", "t %", "t %s", "t %(image)d", "t %(x", "t %q"]
)
def test_a_studios_command_that_cannot_be_used(folders: TaskFolders, template: str) -> None:
    folders.write("a.png", "b.png")
    chosen = PluginSettings(thumbnail_extensions=("png",), thumbnail_command=template)
    made = folders.make_service(chosen, files_block=["a.png", "b.png"])
    assert made.doPost() == []
    assert made.log.startswith("No thumbnails: af_thumbnail_cmd cannot be used: ")
    assert made.log.count("\n") == 1


def test_quotes_on_windows() -> None:
    info = {"image": "P:\\a b.png", "thumbnail": "C:\\t.jpg"}
    made = _thumbnail_commands.make_command("", info, subprocess.list2cmdline)
    assert made.endswith('-- "P:\\a b.png" C:\\t.jpg')
    template = 'convert "%(image)s" "%(thumbnail)s"'
    assert _thumbnail_commands.make_command(template, info, subprocess.list2cmdline) == (
        'convert "P:\\a b.png" "C:\\t.jpg"'
    )
