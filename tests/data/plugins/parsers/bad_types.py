"""A class that does not derive from the base class; its attributes have wrong types."""

from typing import Any


class bad_types:
    def __init__(self) -> None:
        self.percent: Any = 12.7
        self.frame: Any = "3"
        self.percentframe: Any = True
        self.warning: Any = 1
        self.error: Any = True
        self.badresult: Any = None
        self.fatalerror: Any = False
        self.finishedsuccess: Any = False
        self.progress_changed: Any = True
        self.activity: Any = b"busy"
        self.report: Any = None
        self.resources: Any = ["no"]
        self.result: Any = 5
        self.log = ""

    def setTaskInfo(self, i_info: dict[str, object]) -> None:
        pass

    def parse(self, i_args: dict[str, object]) -> None:
        pass

    def getFiles(self) -> object:
        return [b"/a/b.exr", 7, "/a/c.exr"]

    def getFilesOnTheFly(self) -> object:
        return "no list"

    def getLog(self) -> object:
        return None
