"""Translation of paths in texts, by the rules of UNIX and Windows clients."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.path_map import PathMap

PAIRS = [("T:/", "/ps/etc/"), ("P:/", "/ps/prj/"), ("c:\\ps\\", "/ps/"), ("c:/temp/", "/scratch/")]
WINDOWS = PathMap(PAIRS, windows=True)
UNIX = PathMap([("/mnt/prj/", "/ps/prj/"), ("/mnt/all", "/ps")])


@pytest.mark.parametrize(
    ("text", "mapped"),
    [
        ("", ""),
        ("render", "render"),
        ("/ps/prj/a", "P:\\a"),
        ("-o=/ps/prj/x", "-o=P:\\x"),
        ("/ps/prj/a;/scratch/b:/ps/etc/c", "P:\\a;c:\\temp\\b:T:\\c"),
        ("(/ps/prj/a)", "(P:\\a)"),
        ("/ps/prj//a", "P:\\\\a"),
        ("a\t/ps/prj/b\n/ps/prj/c\r\n/scratch/d", "a\tP:\\b\nP:\\c\r\nc:\\temp\\d"),
        ("cat</ps/prj/a>/scratch/b|c", "cat<P:\\a>c:\\temp\\b|c"),
        ("[/ps/prj/a] @/ps/prj/list `/ps/prj/x`", "[P:\\a] @P:\\list `P:\\x`"),
        ("-f/ps/prj/x", "-fP:\\x"),
        ("go -f/ps/prj/x", "go -fP:\\x"),
        ("go -file/ps/prj/x", "go -file/ps/prj/x"),
        ("/home/ps/prj/x", "/home/ps/prj/x"),
        ("${ROOT}/ps/prj/x $(pwd)/ps/prj/x", "${ROOT}/ps/prj/x $(pwd)/ps/prj/x"),
        # a drive letter in a path
        ("D:/ps/prj/a", "D:/ps/prj/a"),
        ("x=D:/ps/prj/a", "x=D:/ps/prj/a"),
        # whole elements, the folder itself
        ("/ps/prj2/a", "c:\\ps\\prj2\\a"),
        ("/psych/a", "/psych/a"),
        ("cd /ps/prj && ls", "cd P:\\ && ls"),
        ("cd /ps; ls", "cd c:\\ps; ls"),
        ("/ps/prj", "P:\\"),
        # after a quote, names with spaces are one path
        ('"/ps/prj/my dir/file" /x/y', '"P:\\my dir\\file" /x/y'),
        ("'/ps/prj/my dir/file'", "'P:\\my dir\\file'"),
        ('"/ps/prj/a /scratch/b --ratio 16/9"', '"P:\\a c:\\temp\\b --ratio 16/9"'),
        ("/ps/prj/a 16/9", "P:\\a 16/9"),
        ("/ps/prj/img(1)/a@2x/b", "P:\\img(1)\\a@2x\\b"),
        # not a path
        ("http://ps/prj/x", "http://ps/prj/x"),
    ],
)
def test_to_a_windows_client(text: str, mapped: str) -> None:
    assert WINDOWS.to_client(text) == mapped


@pytest.mark.parametrize(
    ("text", "mapped"),
    [
        ("P:\\a\\b", "/ps/prj/a/b"),
        ("p:/A/b", "/ps/prj/A/b"),
        ("C:\\Temp\\x;T:\\c", "/scratch/x;/ps/etc/c"),
        ("C:/ps\\mixed\\x", "/ps/mixed/x"),
        ("-o P:", "-o /ps/prj"),
        ('"P:\\my dir\\x" -f c:\\ps\\b', '"/ps/prj/my dir/x" -f /ps/b'),
        ('"P:\\a C:\\temp\\b"', '"/ps/prj/a /scratch/b"'),
        ("XP:\\a", "XP:\\a"),
        ("Z:\\a", "Z:\\a"),
    ],
)
def test_from_a_windows_client(text: str, mapped: str) -> None:
    assert WINDOWS.to_server(text) == mapped


@pytest.mark.parametrize("windows", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "step P: done",
        "step p: done\n",
        "P: 5 of 7 done",
        "T: 12:30:01, T: 0.5 s",
        "2026-11-30T:00 |T: 5| (P:) P:, P:; P:=3 P:",
        "ratio P:T, t:p, P:1 and 16:9",
        "frame P:\r\nP:\n",
        "label = 'P: left'",
        "x=P: y",
        "http://P:/a/b https://farm.example:8080/P:/a",
        "see https://farm.example/get?file=P:/a&to=T:/b",
    ],
)
def test_a_letter_and_a_colon_in_a_text_is_no_path(text: str, windows: bool) -> None:
    assert PathMap(PAIRS, windows=windows).to_server(text) == text
    assert PathMap([(b, a) for a, b in PAIRS], windows=windows).to_client(text) == text


@pytest.mark.parametrize(
    ("text", "mapped"),
    [
        ("P:", "/ps/prj"),
        ("render -o P: -x", "render -o /ps/prj -x"),
        ("render --out=P:", "render --out=/ps/prj"),
        ("dir 'P:' \"T:\"", "dir '/ps/prj' \"/ps/etc\""),
        ("cd P:/", "cd /ps/prj/"),
        ("step P:/a done", "step /ps/prj/a done"),
    ],
)
def test_a_drive_that_is_a_path(text: str, mapped: str) -> None:
    assert WINDOWS.to_server(text) == mapped


@pytest.mark.parametrize(
    ("text", "mapped"),
    [
        ("/ps/prj/a /ps/b", "/mnt/prj/a /mnt/all/b"),
        ("/ps/prj/my\\ dir/x", "/mnt/prj/my\\ dir/x"),
        ("/ps/prj\\ 2/x", "/mnt/all/prj\\ 2/x"),  # the backslash quotes the space of "prj 2"
        ("/PS/prj/a", "/PS/prj/a"),
        ("/ps", "/mnt/all"),
    ],
)
def test_to_a_unix_client(text: str, mapped: str) -> None:
    assert UNIX.to_client(text) == mapped


def test_from_a_unix_client() -> None:
    assert UNIX.to_server("/mnt/prj/a:/mnt/all:/mnt/PRJ") == "/ps/prj/a:/ps:/mnt/PRJ"


def test_nothing_is_mapped_twice() -> None:
    paths = PathMap([("/b", "/a"), ("/c", "/b")])
    assert paths.to_client("/a/x /b/x") == "/b/x /c/x"


def test_the_first_pair_wins_not_the_longest() -> None:
    paths = PathMap([("/short", "/ps"), ("/long", "/ps/prj")])
    assert paths.to_client("/ps/prj/a") == "/short/prj/a"


def test_slashes_stay_with_unix_separators() -> None:
    paths = PathMap(PAIRS, windows=True, unix_separators=True)
    assert paths.to_client("/ps/prj/a/b /ps/prj") == "P:/a/b P:/"
    assert paths.to_server("P:\\a\\b") == "/ps/prj/a/b"


def test_network_shares_are_mapped_and_hosts_of_urls_are_not() -> None:
    paths = PathMap([("//box/project/", "/ps/prj/")], windows=True)
    assert paths.to_server("\\\\BOX\\Project\\A") == "/ps/prj/A"
    assert paths.to_server("see http://box/project/A") == "see http://box/project/A"
    assert paths.to_server("s3://box/project/A b") == "s3://box/project/A b"
    assert paths.to_client("/ps/prj/A") == "\\\\box\\project\\A"
    assert paths.to_client('x -o "/ps/prj/a b/c.exr"') == 'x -o "\\\\box\\project\\a b\\c.exr"'
    assert paths.to_server("-s=\\\\box\\project\\a") == "-s=/ps/prj/a"
    assert paths.to_server("\\\\box\\project2\\a") == "\\\\box\\project2\\a"


@pytest.mark.parametrize(
    "url",
    [
        "http://box/ps/prj/A",
        "https://farm.example/get?file=/ps/prj/a",
        "https://farm.example:/ps/prj/a",
        "s3://bucket/a=/ps/prj/b",
        "ftp://joe@/ps/prj/a",
    ],
)
def test_nothing_in_a_url_is_mapped(url: str) -> None:
    assert UNIX.to_client(f"get {url}") == f"get {url}"
    assert UNIX.to_client(f'"{url}",/ps/prj/a') == f'"{url}",/mnt/prj/a'
    assert UNIX.to_client(f"in:/ps/prj/a {url} /ps/b") == f"in:/mnt/prj/a {url} /mnt/all/b"


def test_a_share_in_a_list_is_not_the_host_of_a_url() -> None:
    paths = PathMap([("/mnt/x", "//server/x")])
    assert paths.to_client("/a/list://server/x/f") == "/a/list:/mnt/x/f"


def test_the_root_may_be_mapped() -> None:
    paths = PathMap([("/mnt/server", "/")])
    assert paths.to_client("cp /a/b /c") == "cp /mnt/server/a/b /mnt/server/c"
    assert paths.to_server("/mnt/server/a:/mnt/server") == "/a:/"
    text = "// a comment\n//share/x 16/9"
    assert paths.to_client(text) == text


def test_a_whole_path_may_contain_any_characters() -> None:
    text = "/ps/prj/shot (1), 16:9/a b/c=d"
    assert WINDOWS.to_client(text, whole=True) == "P:\\shot (1), 16:9\\a b\\c=d"
    assert WINDOWS.to_server("P:\\shot (1)\\a b", whole=True) == "/ps/prj/shot (1)/a b"
    assert WINDOWS.to_client("/ps/prj 2/a", whole=True) == "c:\\ps\\prj 2\\a"
    assert WINDOWS.to_client("x /ps/prj/a", whole=True) == "x /ps/prj/a"


def test_a_map_without_pairs_changes_nothing() -> None:
    paths = PathMap()
    assert paths.to_client("/ps/prj/a") == "/ps/prj/a"
    assert paths.to_server("P:\\a", whole=True) == "P:\\a"
    assert paths.problems == ()


def test_invalid_pairs_are_reported() -> None:
    paths = PathMap([("", "/ps"), ("/mnt", " "), ("/only",), "ab", ("/mnt/a", "/srv/a")])
    assert paths.pairs == (("/mnt/a", "/srv/a"),)
    assert len(paths.problems) == 4
    assert paths.problems[0] == "pair 1 of the paths map is not used: a side of it is empty"
    assert "pair 3" in paths.problems[2]
    assert paths.to_client("/ps/x /srv/a/b") == "/ps/x /mnt/a/b"


NAME = st.text("abcXYZ019_.-+#~%", min_size=1, max_size=8).filter(lambda name: name[0] != "-")


@given(folder=st.sampled_from(["/ps/etc", "/ps/prj", "/ps", "/scratch"]), names=st.lists(NAME))
def test_a_path_survives_the_translation_to_windows_and_back(folder: str, names: list[str]) -> None:
    path = "/".join([folder, *names])
    client = WINDOWS.to_client(path)
    assert "/" not in client
    # The root of a drive needs its slash, so a mapped folder itself ends with one.
    assert WINDOWS.to_server(client).rstrip("/") == path
    assert WINDOWS.to_client(path, whole=True) == client


@given(text=st.text("/\\ps rj:;=\"'-Pcdx\n(", max_size=40))
def test_no_text_raises_and_texts_without_paths_stay_unchanged(text: str) -> None:
    for paths in (WINDOWS, UNIX):
        paths.to_client(text)
        paths.to_server(text)
    if "/ps" not in text:
        assert UNIX.to_client(text) == text
