# -*- coding: utf-8 -*-
# mypy: ignore-errors

import afcommon
import cgruconfig

SCENES = "/shows/scenes"


def for_user(user):
    flags = ["--user", afcommon.filterFileName(user)]
    if "unix" in cgruconfig.VARS["platform"]:
        flags.append("--huge-pages")
    return flags
