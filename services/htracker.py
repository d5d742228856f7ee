"""Houdini's tracker of distributed simulations."""

from __future__ import annotations

from services import service

__all__ = ("htracker",)

parser = "generic"


class htracker(service.service):
    """Adds the job's id to the command; exit code 1 is the tracker's usual end."""

    def getCommand(self) -> str:
        command = super().getCommand()
        return f"{command} -J {self.taskInfo.get('job_id', 0)}" if command else ""

    def checkExitStatus(self, i_status: int) -> bool:
        return i_status in (0, 1)
