"""A class that is no service: most methods are missing."""


class incomplete:
    def __init__(self, taskInfo: dict[str, object], i_verbose: bool = False) -> None:
        pass

    def getCommand(self) -> str:
        return "true"
