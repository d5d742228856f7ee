r"""The built-in rules of `trio_afrender.plugins.error_rules`, as the text that a file of rules would have.

Of a class the first rule that holds counts. So what tells whether the host is to blame stands
before what does not, and classes that explain others before those: a licence server that cannot be
reached is about a licence more than about a network.
"""

from __future__ import annotations

__all__ = ("BUILT_IN",)

BUILT_IN = r"""
[[rule]]
class = "licence"
note = "There was no licence for the program."
texts = [
    "No licenses could be found to run this application",
    "Please check for a valid license server host",
    "A license for nuke was not found",
    "FOUNDRY LICENSE ERROR REPORT",
    "License was not obtained",
    "FlexNet Licensing error",
    "Maxon licensing error",
    "License error",
    "[rlm] error initializing license system",
    "because of failed authorization",
    "abort_on_license_fail",
    "maximum number of users already reached",
    "no license available",
    "no license found",
    "license has expired",
    "license checkout failed",
]
pattern = '(?:could not|cannot|can.t|unable to|failed to) (?:obtain|acquire|get|check ?out|find) (?:an? )?(?:valid )?licen[cs]e|invalid .{0,100}licen[cs]e key'

[[rule]]
class = "out-of-memory"
note = "Memory ran out, of the host or of its GPU."
texts = [
    "std::bad_alloc",
    "MemoryError",
    "Cannot allocate memory",
    "out of memory",
    "out_of_memory",
    "not enough memory",
    "insufficient memory",
    "memory exhausted",
    "cudaErrorMemoryAllocation",
    "oom-kill",
]

[[rule]]
class = "out-of-memory"
note = "Something else killed it, as the system does when memory runs out."
exit = [137]
signal = [9]

[[rule]]
class = "disk-full"
note = "A disk of the host for temporary files is full."
host = true
pattern = '(?:/tmp/|/var/tmp/|\\temp\\).{0,300}(?:no space left on device|not enough space on the disk)|no space left on device.{0,50}(?:/tmp/|/var/tmp/|\\temp\\)'

[[rule]]
class = "disk-full"
note = "A disk, or what may be used of it, is full."
texts = [
    "No space left on device",
    "Disk quota exceeded",
    "not enough space on the disk",
    "not enough disk space",
    "disk is full",
    "disk full",
    "ENOSPC",
]

[[rule]]
class = "setup"
note = "The host lacks a program, a library or a device that the command needs."
host = true
texts = [
    "command not found",
    "is not recognized as an internal or external command",
    "error while loading shared libraries",
    "cannot open shared object file",
    "DLL load failed",
    "ModuleNotFoundError",
    "no CUDA-capable device",
    "CUDA driver version is insufficient",
    "NVIDIA-SMI has failed",
    "No devices found. Aborting rendering",
]
pattern = '''^(?:/bin/)?(?:ba|da)?sh: (?:line )?\d+: .{1,300}: not found$|version .GLIBC(?:XX)?_[\d.]+' not found'''
exit = [126, 127, 9009]

[[rule]]
class = "crash"
note = "It was built for another kind of processor than the host has."
host = true
texts = ["illegal instruction"]
exit = [132, 3221225501, -1073741795]
signal = [4]

[[rule]]
class = "crash"
note = "The program crashed."
texts = [
    "Segmentation fault",
    "core dumped",
    "access violation",
    "EXCEPTION_ACCESS_VIOLATION",
    "unhandled exception",
    "terminate called after throwing",
    "double free or corruption",
    "pure virtual method called",
    "Fatal Python error",
    "stack smashing detected",
    "signal caught: SIG",
]
exit = [134, 135, 136, 139, 3221225477, 3221225725, 3221226505, -1073741819, -1073741571, -1073740791]
signal = [6, 7, 8, 10, 11]

[[rule]]
class = "network"
note = "The host has lost a folder of another one."
host = true
texts = [
    "Stale file handle",
    "Stale NFS file handle",
    "Transport endpoint is not connected",
    "The network path was not found",
    "The specified network name is no longer available",
    "Input/output error",
]

[[rule]]
class = "network"
note = "Another host could not be reached."
texts = [
    "Connection refused",
    "Connection timed out",
    "Connection reset by peer",
    "Temporary failure in name resolution",
    "Could not resolve host",
    "Name or service not known",
    "No route to host",
    "Network is unreachable",
    "Host is down",
]

[[rule]]
class = "missing-asset"
note = "A file that it needs is not there, or not for this user."
texts = [
    "No such file or directory",
    "The system cannot find the file specified",
    "The system cannot find the path specified",
    "FileNotFoundError",
    "Could not open asset",
    "Permission denied",
]
pattern = '''(?:file|texture|image|asset|scene|folder|directory|footage)\b.{0,300}\b(?:does not exist|doesn't exist|not found|could not be (?:found|opened|loaded))|(?:can't|cannot|could not|unable to|failed to) (?:open|load|read|find|access) (?:the )?(?:file|texture|image|asset|scene|footage)'''
"""
