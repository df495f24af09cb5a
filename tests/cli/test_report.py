"""``gpuops report``: on run folders that the test makes, and the page in a real browser."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import browser
import pytest
from typer.testing import CliRunner

from gpuops.cli import app
from gpuops.core.diagnosis.diagnosis import Diagnosis
from gpuops.core.run.telemetry import GpuSample, Recording, Sample
from gpuops.errors import GpuopsError
from gpuops.system.runs import telemetry

BEGAN = 1_795_633_400.0
EVIL = "<script>alert(1)</script>"
GIB = 1024**3
ODD = '20261125-190320-a&b "q" <b>'


@pytest.fixture(name="runs")
def _runs(tmp_path, monkeypatch):
    """A folder of runs, in which the command stands."""
    monkeypatch.setenv("GPUOPS_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def lines(*rows):
    return "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)


def make(runs, name=ODD):
    """A run of two attempts on two GPUs, the first of which hung; with odd characters."""
    root = runs / name
    target = {"kind": "script", "name": EVIL, "entry": "train.py"}
    write(root / "plan.json", {"run_id": name, "target": target, "nodes": [{"ranks": [0, 1]}]})
    for number, (begin, end, code) in enumerate([(0, 100, -9), (110, 300, 0)], 1):
        state = root / "state" / f"attempt-{number}"
        write(state / "process.json", {"started_at": BEGAN + begin})
        write(state / "exit.json", {"ended_at": BEGAN + end, "returncode": code})
    found = Diagnosis(
        kind="unknown", rank=1, why=f"rank 1 {EVIL}", advice="Look at `logs`.", sure=False
    )
    write(root / "diagnosis" / "attempt-1-hung.json", asdict(found))
    story = (
        {"time": BEGAN + 80, "event": "diagnosis", "attempt": 1, "what": "hung", "why": EVIL},
        {"time": BEGAN + 100, "event": "attempt_ended", "attempt": 1, "outcome": "failed"},
        {"time": BEGAN + 100, "event": "restart", "attempt": 1, "why": EVIL},
        '{"time": half a line',
        {"time": BEGAN + 300, "event": "attempt_ended", "attempt": 2, "outcome": "finished"},
    )
    write(root / "events.jsonl", lines(*story))
    figures = [
        {
            "step": step,
            "split": split,
            "loss": 1 / step,
            "lr": 0.1,
            EVIL: step,
            "time": BEGAN + step,
        }
        for step in range(1, 2000)
        for split in ("train", "val")
    ]
    broken = ('{"step": 3, "loss": NaN}', '{"step": 4, "loss": Infinity}', "no JSON", "[1]")
    write(root / "metrics.jsonl", lines(*figures, *broken))
    samples = [
        Sample(
            at_s=BEGAN + second,
            attempt=1 if second < 100 else 2,
            step=second,
            phase="train",
            step_s=0.1,
            cpu_cores=1.5,
            memory_bytes=GIB,
            gpus={
                index: GpuSample(
                    utilization_pct=90, temperature_c=60, power_w=300, memory_used_bytes=GIB
                )
                for index in (0, 3)
            },
        )
        for second in [*range(100), *range(110, 300)]
    ]
    (root / telemetry.TELEMETRY).write_bytes(telemetry.encode(Recording(samples=tuple(samples))))
    write(root / "environment.json", {"host": EVIL, "gpus": [EVIL], "torch": "2.13.0"})
    write(root / "config_used.yaml", f"a: {EVIL}\n")
    return root


def run(*words):
    return CliRunner().invoke(app, ["report", *map(str, words)], catch_exceptions=False)


def test_the_terminal_shows_what_happened(runs):
    """How long, how far, the loss, the GPUs, the attempts, and what went wrong."""
    make(runs)
    shown = run("last").stdout

    for words in ("4:50 in 2 attempts", "1 → 0.0005", "GPU 3", "60 / 60 / 60", "Unknown: rank 1"):
        assert words in shown
    assert "2 times not finite" in shown


def test_programs_get_all_of_it_as_json(runs):
    """Every curve, and numbers alone: JSON knows no NaN."""
    make(runs)
    found = json.loads(run("last", "--json").stdout, parse_constant=pytest.fail)

    titles = [chart["title"] for chart in found["charts"]]
    assert {"Loss", "Learning rate", "Step time", "GPU power", "Host memory"} <= set(titles)
    assert ["hung"] == [trouble["what"] for trouble in found["troubles"]]


def test_a_run_without_anything_has_a_report(runs):
    """Nothing recorded, nothing logged, and what is there is broken."""
    root = runs / "20261125-000000-bare"
    write(root / "plan.json", {"run_id": root.name, "target": 7, "arguments": "no list"})
    for name in ("events.jsonl", "metrics.jsonl", "environment.json", "telemetry.jsonl"):
        (root / name).write_bytes(os.urandom(300))
    (root / "diagnosis").write_text("no folder")

    assert "lost" in run("last").stdout
    assert 0 == run("last", "--html", "page.html").exit_code


def test_a_page_holds_no_secrets_of_the_plan(runs):
    """A page is sent to others: commands and variables of the launch may hold a password."""
    root = runs / "20261125-000000-open"
    secret = {"on_exit": "curl -H key=s3cret", "on_hang": None, "force": ["disk"]}
    plan = {"run_id": root.name, "options": secret, "profile_environment": {"KEY": "s3cret"}}
    write(root / "plan.json", plan)
    run("last", "--html", "page.html")
    page = Path("page.html").read_text()

    assert "s3cret" not in page
    assert 2 == page.count("***")


@pytest.mark.parametrize("place", ["missing/page.html", ".", "/dev/null"])
def test_a_page_that_cannot_be_written_is_a_sentence(runs, place):
    """No folder, or a folder or a device in its place, which stays what it was."""
    make(runs)
    with pytest.raises(GpuopsError, match=r"cannot be written|is not a file"):
        run("last", "--html", place)
    assert Path("/dev/null").is_char_device()


def test_a_long_run_is_reported_at_once(runs):
    """100,000 lines of figures take two seconds; a busy machine may take more."""
    root = make(runs)
    names = ("loss", "recons", "velocity", "commit", "perplexity", "grad_norm", "lr")
    rows = (
        json.dumps({"step": step, **dict.fromkeys(names, step % 977 / 977)})
        for step in range(100_000)
    )
    (root / "metrics.jsonl").write_text("\n".join(rows))
    before = time.process_time()
    run("last", "--html", "page.html")

    assert time.process_time() - before < 5.0
    assert Path("page.html").stat().st_size < 1_000_000


@pytest.fixture(name="page", scope="module")
def _page():
    if browser.found() is None:
        pytest.skip("needs Chromium: `apt-get install -y chromium`")
    with browser.Browser() as page:
        yield page


def show(page, runs, scheme="light"):
    make(runs)
    run("last", "--html", "page.html")
    page.said.clear()
    page.asked.clear()
    page.do(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
    )
    page.open(Path("page.html"))


def test_the_page_needs_nothing_from_anywhere(runs, page):
    """It opens without an error, asks for nothing but itself, and runs nobody else's words."""
    show(page, runs)

    assert [] == page.said
    assert [Path("page.html").absolute().as_uri()] == [
        url for url in page.asked if not url.startswith("data:")
    ]
    assert 1 == page.value("document.scripts.length")
    assert EVIL in page.value("document.body.innerText")


def test_the_page_shows_curves(runs, page):
    """With points in them, inside their picture, in the colours of the scheme."""
    show(page, runs)
    drawn = page.value(
        "[...document.querySelectorAll('.chart')].map((chart) => ["
        "chart.querySelector('h3').textContent,"
        "chart.querySelectorAll('.line').length,"
        "Math.min(...[...chart.querySelectorAll('.line')].map((line) => line.getTotalLength())),"
        "getComputedStyle(chart.querySelector('.line')).stroke])"
    )
    found = {title: (lines, length, colour) for title, lines, length, colour in drawn}

    assert 2 == found["Loss"][0] == found["GPU power"][0]
    assert all(length > 5000 for _, length, _ in found.values())
    assert EVIL in found
    show(page, runs, "dark")
    dark = page.value("getComputedStyle(document.querySelector('.line')).stroke")
    assert dark != found["Loss"][2]


def test_values_are_shown_under_the_pointer(runs, page):
    """Of every curve over the same axis; when the pointer goes, it is as before."""
    show(page, runs)
    said = (
        "new Promise((done) => { const charts = [...document.querySelectorAll('.chart')];"
        "const chart = charts.find((c) => c.querySelector('h3').textContent === 'GPU power');"
        "const host = chart.querySelector('.plot').getBoundingClientRect();"
        "chart.querySelector('.plot').dispatchEvent(new PointerEvent(NAME, {bubbles: true,"
        "clientX: host.left + host.width / 2, clientY: host.top + 5}));"
        "requestAnimationFrame(() => requestAnimationFrame(() => done(["
        "chart.querySelector('.where').textContent,"
        "...[...chart.querySelectorAll('output')].map((output) => output.textContent)]))) })"
    )

    assert ["at 2:25", "300", "300"] == page.value(said.replace("NAME", "'pointermove'"))
    assert ["", "300", "300"] == page.value(said.replace("NAME", "'pointerleave'"))
    assert [] == page.said


@pytest.mark.parametrize("width", [1280, 480, 340])
def test_the_page_fits_any_screen(runs, page, width):
    """Nothing sticks out to the side."""
    show(page, runs)
    page.do(
        "Emulation.setDeviceMetricsOverride",
        width=width, height=800, deviceScaleFactor=1, mobile=False,
    )  # fmt: skip

    assert page.value("document.documentElement.scrollWidth") <= width
