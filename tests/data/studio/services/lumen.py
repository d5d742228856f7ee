# -*- coding: utf-8 -*-
# mypy: ignore-errors

import os

import afcommon
import cgruconfig
import cgrupathmap
import cgrusequence
import cgruutils
import lumen_flags

from services import service

parser = "lumen_log"

str_hostsprefix = "--helpers="


class lumen(service.service):
    """Lumen, the studio's renderer
    """

    def __init__(self, taskInfo, i_verbose):
        service.service.__init__(self, taskInfo, i_verbose)

        user = cgruutils.toStr(self.taskInfo["user_name"])
        self.taskInfo["command"] += " " + " ".join(lumen_flags.for_user(user))
        if "lumen_quality" in cgruconfig.VARS:
            self.taskInfo["command"] += " -q %d" % cgruconfig.VARS["lumen_quality"]

        # Scenes keep slashes on every platform:
        pm = cgrupathmap.PathMap(UnixSeparators=True)
        if pm.initialized:
            scene = pm.toClient(lumen_flags.SCENES + "/moth.lum")
            self.taskInfo["environment"]["LUMEN_SCENE"] = scene
        self.taskInfo["environment"]["LUMEN_SERVER"] = self.pm.toServer("/mnt/shows/moth")

        if afcommon.checkBlockFlag(self.taskInfo["block_flags"], "numeric"):
            self.taskInfo["environment"]["LUMEN_RANGE"] = afcommon.fillNumbers(
                "@##@-@##@", self.taskInfo["frame_start"], self.taskInfo["frame_finish"])

    def applyCmdHosts(self, command):
        hosts = str_hostsprefix + ";".join(self.taskInfo["hosts"])
        return command.replace(self.str_hosts, hosts)

    def checkExitStatus(self, i_status):
        if i_status == 3:
            self.log = "Lumen had warnings."
            return True
        return service.service.checkExitStatus(self, i_status)

    def generateThumbnail(self, i_onthefly):
        cmds = []
        if i_onthefly:
            files = self.parser.getFilesOnTheFly()
        else:
            files = self.parser.getFiles()
        for seq in cgrusequence.cgruSequence(list(files)):
            if not cgruutils.isImageExt(seq["name"]):
                continue
            cmds.append('echo thumbnail of %s > "%s"' % (
                os.path.basename(seq["name"]),
                os.path.join(cgruutils.toStr(self.taskInfo["store_dir"]), "lumen.txt")))
        return cmds
