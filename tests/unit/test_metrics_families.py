"""Figures in Prometheus' text format, read by the parser of its own client."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.metrics import check_conventions, read_figures

from trio_afrender.agent.agent_counters import AgentCounters, collect_host
from trio_afrender.farm.farm_metrics import collect_farm
from trio_afrender.farm.settings import FarmSettings
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.store import MemoryFarmStore
from trio_afrender.gateway.counters import GatewayCounters, collect_gateway
from trio_afrender.metrics.families import (
    Histogram,
    MetricFamily,
    counter,
    format_families,
    gauge,
    histogram,
)
from trio_afrender.metrics.program_metrics import collect_program
from trio_afrender.protocol.messages import GpuCard, HostResources, TaskStatus, TaskUpdate


def find(text: str, name: str, **labels: str) -> float:
    return read_figures(text)[name, frozenset(labels.items())]


def test_a_histogram_counts_values_up_to_each_bound() -> None:
    values = Histogram((0.1, 1.0, 10.0))
    for value in (0.05, 0.1, 0.5, 2.0, 100.0):
        values.observe(value)
    text = format_families([histogram("x_seconds", "Times.", values)])
    check_conventions(text)
    buckets = {le: find(text, "x_seconds_bucket", le=le) for le in ("0.1", "1", "10", "+Inf")}
    assert buckets == {"0.1": 2, "1": 3, "10": 4, "+Inf": 5}
    assert find(text, "x_seconds_sum") == pytest.approx(102.65)
    assert find(text, "x_seconds_count") == 5


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\nb", "café", "", '\\n"', "} 5"])
def test_any_text_may_be_a_label(value: str) -> None:
    family = gauge("x", "A figure.", {value: 3.5}, "name")
    text = format_families([family.labelled("render", value)])
    assert read_figures(text) == {("x", frozenset({("name", value), ("render", value)})): 3.5}


def test_a_name_that_is_no_text_can_be_sent() -> None:
    text = format_families([gauge("x", "A figure.", {"caf\udce9": 1.0}, "host")])
    assert find(text, "x", host="caf?") == 1


def test_families_of_several_agents_are_one() -> None:
    text = format_families(
        gauge("x", "A figure.", number).labelled("render", name)
        for name, number in (("r1", 1.0), ("r2", 2.0))
    )
    check_conventions(text)
    assert (find(text, "x", render="r1"), find(text, "x", render="r2")) == (1, 2)


def test_help_texts_are_one_line() -> None:
    text = format_families([MetricFamily("x", "gauge", "Two\nlines \\ more.", (({}, 1.0),))])
    assert text == "# HELP x Two\\nlines \\\\ more.\n# TYPE x gauge\nx 1\n"


def test_large_counts_keep_their_digits() -> None:
    for value in (12_345_678, 12_345_678_901_234):
        assert f"x_total {value}\n" in format_families([counter("x", "A figure.", value)])


@pytest.mark.parametrize("program", ["agent", "farm", "gateway"])
def test_the_figures_of_each_program_follow_the_conventions(program: str) -> None:
    state = FarmState(texts=MemoryFarmStore(), settings=FarmSettings(), wall=lambda: 1e9)
    card = GpuCard(util=50, temp=60, mem_total_mb=1000, mem_used_mb=10)
    host = HostResources(cpu_num=8, cpu_idle=25, mem_total_mb=1024, gpus=(card, GpuCard()))
    agent = [*AgentCounters(lambda: 0.0).collect(), *collect_host(host)]
    families = {
        "agent": agent,
        "farm": [*collect_farm(state), *agent],
        "gateway": collect_gateway(GatewayCounters()),
    }[program]
    text = format_families([*families, *collect_program(program)])
    check_conventions(text)
    if program == "agent":
        assert find(text, "trio_afrender_agent_host_cpu_busy_ratio") == 0.75
        assert find(text, "trio_afrender_agent_host_memory_total_bytes") == 2**30
        assert find(text, "trio_afrender_agent_host_gpu_busy_ratio", gpu="0") == 0.5


def test_latencies_of_a_run_are_measured_once() -> None:
    now = 100.0
    counters = AgentCounters(lambda: now)
    counters.note_accepted("r1")
    now += 0.003
    counters.note_started("r1")
    counters.note_started("r1")
    counters.note_started("unknown")
    update = TaskUpdate(
        run="r1", job=1, block=0, task=0, number=0, status=TaskStatus.FinishedSuccess,
        started=1000.0, finished=1042.0,
    )  # fmt: skip
    counters.note_ended(update)
    now += 0.5
    counters.note_closed("r1")
    counters.note_closed("r1")
    text = format_families(counters.collect())
    prefix = "trio_afrender_agent_"
    assert find(text, f"{prefix}runs_accepted_total") == 1
    assert find(text, f"{prefix}runs_ended_total", status="FinishedSuccess") == 1
    assert find(text, f"{prefix}runs_ended_total", status="FinishedError") == 0
    for name, count, total in (("start", 1, 0.003), ("run", 1, 42.0), ("delivery", 1, 0.5)):
        assert find(text, f"{prefix}{name}_seconds_count") == count
        assert find(text, f"{prefix}{name}_seconds_sum") == pytest.approx(total)


def test_the_times_of_runs_that_never_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_afrender.agent.agent_counters._MAX_TIMED", 10)
    counters = AgentCounters(lambda: 0.0)
    for number in range(100):
        counters.note_accepted(f"r{number}")
    assert len(counters._received) == 10


def test_the_page_has_every_name_of_an_agent_and_a_farm() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    card = GpuCard(util=50, temp=60, mem_total_mb=1000, mem_used_mb=10)
    counters = AgentCounters(lambda: 0.0)
    families = [*counters.collect(), *collect_host(HostResources(gpus=(card,)))]
    for family in families:
        assert f"`{family.name.removeprefix('trio_afrender_agent_')}`" in page, family.name
    for family in collect_program("agent"):
        assert f"`{family.name}`" in page
