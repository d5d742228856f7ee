"""A pytest plugin for the run under Wine: which tests are Unix's own, and why. Each is shown as skipped.

Names are patterns: of a file's path below ``tests``, with ``::`` and a test's name behind it for single ones.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

__all__ = ("FILES", "TESTS")

ROOT = Path(__file__).resolve().parents[1]

SUPERVISOR = (
    "the supervisor and what it starts exist on Unix alone; the trees of Windows are test_windows_*"
)
PROC = "it reads /proc, /sys or a device, which Linux alone has"
SIGNALS = "signals of Unix, which Windows does not have"
FIFO = "FIFOs, sockets in the file system or links, which Windows does not have or does not let a user make"
MODES = "modes and owners of files; on Windows an access list has their place (test_windows_files)"
RESOURCE = "the module `resource`, which Unix alone has"
SHELL = "commands for a shell of Unix; those of Windows are test_windows_trees and test_windows_run"
SOURCE = "it reads the source alone and gives the same result on Linux"

FORK = "the fork server, which needs fork; the hosts of Windows are test_windows_plugin_hosts"
SYSTEMD = "a service manager of Linux"
DOCTOR = "the checks of Linux; those of Windows are test_doctor_windows"
NAMES = "names of files that Windows does not allow; those that it does are test_cmd_words"
PATHS = "paths of Unix with a paths map of Unix; those of Windows are test_path_map"
CLOCK = "the zone of this process cannot be changed there (time.tzset)"
OPEN = "an open file is not renamed there by another program"
HOMES = "a home of a user who does not exist is a path there"
DRIVE = "files on a drive P, which Wine does not have"
COPY = "the source is not installed there but copied"
EXAMPLE = "the example shows the shell of Unix"

FILES: dict[str, str] = {
    "unit/test_house_names.py": SOURCE,
    "unit/test_import_rules.py": SOURCE,
    "unit/test_private_words.py": SOURCE,
    "unit/test_cli_log_events.py": SOURCE,
    "unit/test_wine_python.py": SOURCE,
    "unit/test_docs_*.py": SOURCE,
    "unit/test_protocol_docs_page.py": SOURCE,
    "unit/test_config_docs_page.py": SOURCE,
    "unit/test_renderers_findings.py": SOURCE,
    "unit/test_fuzz.py": RESOURCE,
    "unit/test_supervisor_*.py": SUPERVISOR,
    "unit/test_doctor_machine.py": DOCTOR,
    "unit/test_doctor_files.py": DOCTOR,
    "unit/test_hostinfo_cgroup_limits.py": PROC,
    "unit/test_agent_journal_power_loss.py": "its model of a disk replaces calls that Unix alone has",
    "simulated/test_agent_loop_watchdog.py": SYSTEMD,
    "simulated/test_plugins_forkserver.py": FORK,
    "unit/test_user_files.py": FIFO,
    "unit/test_user_switch.py": SUPERVISOR,
    "unit/test_systemd_units.py": SYSTEMD,
    "unit/test_doctor_task_users.py": DOCTOR,
    "unit/test_task_users.py": SUPERVISOR,
    "integration/*": "its tasks, signals, modes of files or /proc are Unix's; Windows' own ones are test_windows_*",
}
"""Files that are not even imported, with the reason."""
INTEGRATION = (
    "integration/test_windows_*.py",
    "integration/test_agent_journal_file.py",
    "integration/test_transport_tls.py",
)
"""The integration tests that are not Unix's own."""
TESTS: dict[str, str] = {
    "simulated/test_docs_testing.py::test_example?test_a_frame_survives*": EXAMPLE,
    "unit/test_farm_json_values.py::test_nothing_else_is_served*": FIFO,
    "unit/test_farm_json_values.py::test_files_of_the_page*": FIFO,
    "unit/test_farm_json_values.py::test_lists_of_names_are_sorted": FIFO,
    "unit/test_farm_json_values.py::test_the_owner_*": PROC,
    "unit/test_farm_json_values.py::test_the_program_that_listens_is_named": PROC,
    "unit/test_farm_json_values.py::test_the_kernel_knows_no_such_socket": PROC,
    "unit/test_cli_farm_record.py::test_a_folder_that_others_can_write_does_not_count": MODES,
    "unit/test_thumbnail_command.py::test_a_command_that_needs_a_shell*": SHELL,
    "unit/test_thumbnail_command.py::test_the_command_is_recognized_with_the_quotes*": SHELL,
    "unit/test_services_thumbnails.py::test_no_name_breaks_the_built_in_command*": NAMES,
    "unit/test_services_thumbnails.py::test_every_server_accepts_the_names": NAMES,
    "unit/test_services_thumbnails.py::test_the_template_may_use_any_value*": SHELL,
    "unit/test_services_all.py::test_any_other_method_is_a_command": SHELL,
    "integration/test_transport_tls.py::test_a_session_leaves_no_descriptor_open": PROC,
    "unit/test_cli_arguments.py::test_every_command_has_a_module": SOURCE,
    "unit/test_cli_arguments.py::test_bad_usage*red.json*": NAMES,
    "unit/test_config_cgru.py::test_an_include_with_an_impossible_file_name*ud800*": NAMES,
    "unit/test_cli_job_checks.py::test_bad_options*no_such_user*": HOMES,
    "unit/test_cli_logging_setup.py::test_lines_of_text_have_a_date_and_say_their_zone": CLOCK,
    "unit/test_cli_logging_setup.py::test_a_file_that_was_renamed_is_made_again": OPEN,
    "unit/test_cli_logging_setup.py::test_a_full_disk_is_reported_once": PROC,
    "unit/test_cli_logging_setup.py::test_a_link_stays_a_link_to_the_file": FIFO,
    "unit/test_extras.py::test_this_installation": COPY,
    "unit/test_hostinfo_gpu.py::test_a_command_of_the_settings_measures_the_first_gpu": SHELL,
    "unit/test_resmeters.py::test_licences": SHELL,
    "unit/test_resmeters.py::test_a_slow_licence_server_does_not_delay_the_update": SHELL,
    "unit/test_plugins_compat.py::test_files_are_mapped_line_by_line": PATHS,
    "unit/test_plugins_compat.py::test_the_paths_map_has_the_names_of_cgru": PATHS,
    "unit/test_tasklog_io_threads.py::test_descriptors_are_freed_when_there_are_none*": PROC,
    "unit/test_thumbnail_fonts.py::test_a_font_that_has_them_is_taken": SHELL,
    "unit/test_parsers_inside.py::test_result_for_a_recorded_log*maya_arnold_aborted-1*": DRIVE,
}
"""Tests that are skipped, with the reason."""


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the files of `FILES`."""
    return True if _find(collection_path, FILES) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of `TESTS`."""
    for item in items:
        name = f"{_relative(item.path)}::{item.name}"
        for pattern, reason in TESTS.items():
            if fnmatchcase(name, pattern):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which files of the folders that were run are left out, by reason."""
    folders = [ROOT.parent / each for each in terminalreporter.config.args]
    left_out: dict[str, list[str]] = {}
    for path in sorted(ROOT.rglob("test_*.py")):
        if path.parent in folders and (reason := _find(path, FILES)):
            left_out.setdefault(reason, []).append(_relative(path))
    if left_out:
        terminalreporter.section("files that are Unix's own")
    for reason, names in left_out.items():
        terminalreporter.line(f"{reason}: {len(names)}")
        for name in names:
            terminalreporter.line(f"    {name}")


def _find(path: Path, patterns: dict[str, str]) -> str:
    name = _relative(path)
    if any(fnmatchcase(name, pattern) for pattern in INTEGRATION):
        return ""
    return next((why for pattern, why in patterns.items() if fnmatchcase(name, pattern)), "")


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.as_posix()
