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
EXAMPLE = "the example shows the shell of Unix"

FILES: dict[str, str] = {
    "unit/test_house_names.py": SOURCE,
    "unit/test_import_rules.py": SOURCE,
    "unit/test_private_words.py": SOURCE,
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
    "unit/test_user_files.py": SUPERVISOR,
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
    "unit/test_cli_arguments.py::test_every_command_has_a_module": SOURCE,
}
"""Tests that are skipped, with the reason."""


NOT_FIXED: tuple[str, ...] = (
    "unit/test_agent_load_config.py::test_the_token_is_read",
    "unit/test_check_services.py::test_numbers_are_filled_and_paths_mapped",
    "unit/test_check_services.py::test_thumbnails_are_of_existing_files",
    "unit/test_cli_arguments.py::test_bad_usage_is_one_sentence_on_stderr_and_exit_code_2",
    "unit/test_cli_arguments.py::test_debug_shows_the_traceback",
    "unit/test_cli_farm_record.py::test_an_open_farm_is_found_and_a_closed_one_is_not",
    "unit/test_cli_job_checks.py::test_bad_options_are_reported_before_the_job_starts",
    "unit/test_cli_log_events.py::test_each_text_that_is_logged_has_an_event",
    "unit/test_cli_log_events.py::test_kinds_of_limited_lines_are_those_of_the_source",
    "unit/test_cli_log_events.py::test_no_event_is_left_of_a_text_that_is_logged_no_more",
    "unit/test_cli_log_events.py::test_the_values_of_each_text_have_names",
    "unit/test_cli_logging_setup.py::test_a_file_is_divided_at_its_size_and_few_are_kept",
    "unit/test_cli_logging_setup.py::test_a_file_that_cannot_be_opened_is_an_error",
    "unit/test_cli_logging_setup.py::test_a_file_that_was_renamed_is_made_again",
    "unit/test_cli_logging_setup.py::test_a_full_disk_is_reported_once",
    "unit/test_cli_logging_setup.py::test_a_link_stays_a_link_to_the_file",
    "unit/test_cli_logging_setup.py::test_lines_of_text_have_a_date_and_say_their_zone",
    "unit/test_config_cgru.py::test_a_cycle_is_reported_and_the_other_files_count",
    "unit/test_config_cgru.py::test_a_file_that_has_changed_since_gives_no_wrong_place",
    "unit/test_config_cgru.py::test_a_key_that_stands_twice_in_an_object_is_a_problem",
    "unit/test_config_cgru.py::test_a_required_file_must_exist_and_be_readable",
    "unit/test_config_cgru.py::test_a_value_of_the_wrong_type_is_reported_and_the_earlier_one_stays",
    "unit/test_config_cgru.py::test_an_error_in_a_file_names_its_position",
    "unit/test_config_cgru.py::test_an_include_that_is_no_list_of_names_is_a_problem",
    "unit/test_config_cgru.py::test_an_include_with_an_impossible_file_name_is_a_problem",
    "unit/test_config_cgru.py::test_includes_come_after_all_own_keys_and_depth_first",
    "unit/test_config_cgru.py::test_missing_and_bad_includes_are_problems_and_the_other_files_count",
    "unit/test_config_cgru.py::test_objects_merge_and_everything_else_is_replaced",
    "unit/test_config_cgru.py::test_pairs_before_a_bad_one_stay_and_backslashes_become_slashes",
    "unit/test_config_cgru.py::test_places_are_those_of_the_keys_that_count",
    "unit/test_config_layers.py::test_each_layer_wins_over_the_ones_below",
    "unit/test_config_layers.py::test_missing_files_named_by_variables_are_reported_and_ignored",
    "unit/test_config_layers.py::test_our_section_is_typed_and_its_paths_start_at_the_file",
    "unit/test_config_layers.py::test_plugins_of_cgrus_own_path_come_after_ours",
    "unit/test_config_layers.py::test_the_site_file_stands_between_the_shipped_one_and_the_home",
    "unit/test_extras.py::test_a_folder_with_a_space",
    "unit/test_extras.py::test_a_wheel",
    "unit/test_extras.py::test_editable",
    "unit/test_extras.py::test_this_installation",
    "unit/test_extras.py::test_uv_tool",
    "unit/test_hostinfo_gpu.py::test_a_command_of_the_settings_measures_the_first_gpu",
    "unit/test_hostinfo_gpu.py::test_a_program_that_hangs_is_given_up",
    "unit/test_jobs_job_file.py::test_files_that_do_not_exist",
    "unit/test_jobs_submission.py::test_a_folder_relative_to_the_file_is_mapped_and_no_other",
    "unit/test_metrics_families.py::test_the_figures_of_each_program_follow_the_conventions",
    "unit/test_metrics_families.py::test_the_page_has_every_name_of_an_agent_and_a_farm",
    "unit/test_plugins_compat.py::test_files_are_mapped_line_by_line",
    "unit/test_plugins_compat.py::test_sequences",
    "unit/test_plugins_compat.py::test_the_next_task_uses_a_changed_helper",
    "unit/test_plugins_compat.py::test_the_next_task_uses_a_changed_helper_that_was_imported_late",
    "unit/test_plugins_compat.py::test_the_paths_map_has_the_names_of_cgru",
    "unit/test_plugins_error_rules.py::test_a_changed_file_is_loaded_again",
    "unit/test_plugins_error_rules.py::test_wordings_of_programs",
    "unit/test_plugins_lookup.py::test_a_change_of_an_imported_plugin_is_noticed",
    "unit/test_plugins_lookup.py::test_a_changed_file_is_loaded_again_and_the_old_class_stays_usable",
    "unit/test_resmeters.py::test_a_slow_licence_server_does_not_delay_the_update",
    "unit/test_resmeters.py::test_disk_space_of_a_real_folder_that_vanishes",
    "unit/test_resmeters.py::test_licences",
    "unit/test_resmeters.py::test_the_folder_by_default",
    "unit/test_task_cause.py::test_the_cause_of_a_failure",
    "unit/test_tasklog_io_threads.py::test_descriptors_are_freed_when_there_are_none_and_held_again",
    "unit/test_thumbnail_fonts.py::test_a_font_that_has_them_is_taken",
)
"""Tests that fail on Windows and should not: most expect paths or commands as Unix writes them."""


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
        if name.partition("[")[0] in NOT_FIXED:
            reason = "known to fail on Windows, not fixed yet"
            item.add_marker(pytest.mark.xfail(reason=reason, strict=False))


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
