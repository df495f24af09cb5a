"""The report of a run as one HTML file: it fetches nothing, and all text is escaped."""

from __future__ import annotations

import hashlib
import re
import time
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from gpuops import __version__
from gpuops.core.report.curves import Chart, Spread
from gpuops.core.report.report import Report, Stretch
from gpuops.core.report.scale import Scale, shared_axis
from gpuops.text import GIB, many
from gpuops.ui import words
from gpuops.ui.report import plots
from gpuops.ui.report.report import DOING, ran, range_

MOMENT = "%Y-%m-%d %H:%M:%S %Z"
LARGE = {"Loss"}
MARKS = {"hung": "hung", "crashed": "crashed", "suspected": "suspected", "attempt": "next attempt"}


def page(found: Report) -> str:
    """The page, as HTML."""
    own = files("gpuops.ui.report")
    style, script = (own.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    allowed = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{allowed}'"
    )
    seen = [chart for chart in found.charts if chart.over == "time"]
    logged = [chart for chart in found.charts if chart.over == "steps"]
    parts = (
        _header(found),
        _tiles(found),
        _band(found),
        _troubles(found),
        _pictures(found, logged, seen),
        _attempts(found),
        _gpus(found),
        _environment(found),
        _configuration(found),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(found.run.run_id)}</title>\n<style>\n{style}</style></head>\n"
        f"<body><main>\n{chr(10).join(part for part in parts if part)}\n"
        f"<footer>Written by gpuops {escape(__version__)} on {_moment(found.made_at)}.</footer>"
        f"</main>\n<script>{script}</script></body></html>\n"
    )


def _header(found: Report) -> str:
    run = found.run
    where = found.environment.get("host")
    about = [
        run.target,
        many(run.workers, "worker"),
        f"profile {run.profile}",
        *([f"on {where}"] if isinstance(where, str) else []),
        *([f"began {_moment(found.attempts[0].started_at)}"] if found.attempts else []),
    ]
    still = (
        f'<p class="note running">It is still running: this is how it stood on '
        f"{_moment(found.made_at)}.</p>"
        if run.status == "running"
        else ""
    )
    return (
        f'<header><h1>{escape(run.run_id)}</h1><span class="pill {run.status}">{run.status}</span>'
        f"<p>{' · '.join(map(escape, about))}</p><pre>{escape(found.command)}</pre></header>{still}"
    )


def _tiles(found: Report) -> str:
    run = found.run
    tiles = [("Ran", *ran(found).split(" in ", 1))] if found.attempts else []
    if found.step is not None:
        of = f"of {run.total_steps:,}" if run.total_steps else ""
        tiles.append(("Steps", f"{found.step:,}", of))
    if found.steps_per_s:
        each = f"{words.figure(1000 / found.steps_per_s)} ms a step"
        tiles.append(("Steps per second", words.figure(found.steps_per_s), each))
    if found.loss is not None:
        first, least, last = map(words.figure, found.loss)
        tiles.append(("Loss", last, f"from {first}, at best {least}"))
    if "loss" in found.validation:
        tiles.append(("Validation loss", words.figure(found.validation["loss"]), "the last one"))
    if found.shares.get("train"):
        others = sorted(found.shares.items(), key=lambda item: -item[1])
        rest = [f"{DOING.get(n, n)} {100 * s:.0f} %" for n, s in others if n != "train"]
        tiles.append(("Time in training", f"{100 * found.shares['train']:.0f} %", ", ".join(rest)))
    tiles += _uses(found)
    cells = "".join(
        f'<dl class="tile panel"><dt>{escape(name)}</dt><dd>{escape(value)}</dd>'
        f"<small>{escape(about).replace(' %', '&nbsp;%')}</small></dl>"
        for name, value, about in tiles
    )
    lost = (
        f'<p class="note failed">{found.not_finite} of the logged losses are not finite; the '
        "curves break there.</p>"
        if found.not_finite
        else ""
    )
    columns = len(tiles) if len(tiles) <= 6 else (len(tiles) + 1) // 2
    return f'<div class="tiles" style="--columns:{columns}">{cells}</div>{lost}'


def _uses(found: Report) -> list[tuple[str, str, str]]:
    """How the GPUs were used; without GPUs, the host."""
    tiles = []
    used = [gpu.utilization_pct.median for gpu in found.gpus if gpu.utilization_pct]
    if used:
        about = "the median" if len(used) == 1 else f"median of the idlest of {len(used)} GPUs"
        tiles.append(("GPU utilisation", f"{min(used):.0f} %", about))
    full = [gpu.memory_used_bytes.most for gpu in found.gpus if gpu.memory_used_bytes]
    if full:
        tiles.append(("GPU memory", f"{max(full) / GIB:.1f} GiB", "at most, of a GPU"))
    drawn = [gpu.power_w.median for gpu in found.gpus if gpu.power_w]
    if drawn:
        tiles.append(("GPU power", f"{sum(drawn):.0f} W", "medians of all GPUs together"))
    if not found.gpus and found.cpu_cores:
        most = f"at most {found.cpu_cores.most:.1f}"
        tiles.append(("CPU cores in use", f"{found.cpu_cores.median:.1f}", most))
    if not found.gpus and found.memory_bytes:
        tiles.append(("Host memory", _gib(found.memory_bytes), "at most, of all ranks"))
    return tiles


def _band(found: Report) -> str:
    """The running time as a band of phases, with marks."""
    if not found.phases and len(found.attempts) < 2:
        return ""
    scale = Scale(low=0.0, high=found.running_s or 1.0)
    stretches = "".join(_stretch(stretch, scale) for stretch in found.phases)
    marks = "".join(
        f'<i class="{mark.kind if mark.kind in MARKS else "other"}" title="{escape(mark.words)}" '
        f'style="left:{100 * scale.place(mark.running_s):.2f}%"></i>'
        for mark in found.marks
    )
    labels = "".join(
        f'<span{"" if tick else " class=first"} style="left:{100 * scale.place(tick):.2f}%">'
        f"{plots.time_label(tick)}</span>"
        for tick in scale.times()
    )
    key = [
        f'<li class="p-{name if name in DOING else "none"}">{escape(DOING.get(name, name))} '
        f"{100 * share:.0f} %</li>"
        for name, share in found.shares.items()
    ]
    kinds = dict.fromkeys(mark.kind for mark in found.marks if mark.kind in MARKS)
    key += [f'<li class="line {kind}">{MARKS[kind]}</li>' for kind in kinds]
    return (
        '<h2>How it went</h2><div class="band panel">'
        f'<div class="track">{stretches}{marks}{labels}</div>'
        f'<ul class="key">{"".join(key)}</ul></div>'
    )


def _stretch(stretch: Stretch, scale: Scale) -> str:
    begin, end = (100 * scale.place(at) for at in (stretch.begin_s, stretch.end_s))
    name = DOING.get(stretch.phase or "", "running")
    return (
        f'<b class="p-{stretch.phase if stretch.phase in DOING else "none"}" title="{name}" '
        f'style="left:{begin:.3f}%;width:{end - begin:.3f}%"></b>'
    )


def _troubles(found: Report) -> str:
    if not found.troubles:
        return ""
    parts = []
    for trouble in found.troubles:
        kind = trouble.what if trouble.what in MARKS else "other"
        advice = f'<p class="advice">{_prose(trouble.advice)}</p>' if trouble.advice else ""
        why = f"{trouble.why[:1].upper()}{trouble.why[1:]}."
        whole = (
            f"<details><summary>The whole diagnosis</summary><pre>{escape(trouble.text)}</pre>"
            "</details>"
            if trouble.text
            else ""
        )
        parts.append(
            f'<article class="trouble panel {kind}"><h3>{escape(trouble.title)} '
            f'<span class="pill">{escape(trouble.what)}</span><time>attempt {trouble.attempt}, '
            f"{_moment(trouble.at_s)}</time></h3><p>{_prose(why)}</p>{advice}{whole}</article>"
        )
    return f"<h2>What went wrong</h2>{''.join(parts)}"


def _pictures(found: Report, logged: Sequence[Chart], seen: Sequence[Chart]) -> str:
    if not logged and not seen:
        return (
            '<p class="note attempt">There are no curves: nothing was logged, and nothing recorded '
            "while it ran.</p>"
        )
    steps, times = shared_axis(logged), shared_axis(seen, found.running_s)

    def drawn(charts: Iterable[Chart], size: str = "") -> str:
        return "".join(
            plots.chart(
                chart,
                times if chart.over == "time" else steps,
                found.marks,
                "wide" if chart.title in LARGE else size,
            )
            for chart in charts
        )

    first = [chart for chart in logged if chart.title in {"Loss", "Learning rate"}]
    job = [chart for chart in seen if not chart.title.startswith(("GPU", "CPU", "Host"))]
    gpus = [chart for chart in seen if chart.title.startswith("GPU")]
    host = [chart for chart in seen if chart.title.startswith(("CPU", "Host"))]
    others = [chart for chart in logged if chart not in first]
    sections = (
        ("Training", drawn([*first, *job]), ""),
        ("GPUs", drawn(gpus), ""),
        ("Host", drawn(host), ""),
        ("All other figures", drawn(others), " small"),
    )
    return "".join(
        f'<h2>{name}</h2><div class="charts{size}">{charts}</div>'
        for name, charts, size in sections
        if charts
    )


def _attempts(found: Report) -> str:
    rows = [
        (
            str(span.number),
            _moment(span.started_at),
            words.duration(span.duration_s),
            f"{words.steps(span.first_step, None)} → {words.steps(span.last_step, None)}",
            f'<span class="pill {escape(span.ending)}">{escape(span.ending)}</span>',
            escape(span.follows or ""),
        )
        for span in found.attempts
    ]
    return _table("Attempts", ("attempt", "began", "took", "steps", "ended", "then"), rows)


def _gpus(found: Report) -> str:
    rows = [
        (
            f"GPU {gpu.index}",
            range_(gpu.utilization_pct),
            range_(gpu.memory_used_bytes, GIB, 1),
            range_(gpu.temperature_c),
            range_(gpu.power_w),
        )
        for gpu in found.gpus
    ]
    names = ("GPU", "utilisation, %", "memory, GiB", "temperature, °C", "power, W")
    return _table("GPUs: least / median / most while training", names, rows)


def _table(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of HTML cells; the last column holds text."""
    if not rows:
        return ""
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(
        f"<tr>{''.join(f'<td>{cell}</td>' for cell in row[:-1])}"
        f'<td class="words">{row[-1]}</td></tr>'
        for row in rows
    )
    return (
        f'<h2>{title}</h2><div class="panel scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _environment(found: Report) -> str:
    facts = [(name, value) for name, value in found.environment.items() if value not in (None, [])]
    cells = "".join(
        f"<div><dt>{escape(str(name).replace('_', ' '))}</dt><dd>{_value(value)}</dd></div>"
        for name, value in facts
    )
    cells += f'<div class="wide"><dt>folder</dt><dd>{escape(found.run.path)}</dd></div>'
    return f'<h2>Where it ran</h2><dl class="facts panel">{cells}</dl>'


def _configuration(found: Report) -> str:
    folded = "".join(
        f'<details class="folded panel"><summary>{escape(name)}</summary>'
        f"<pre>{escape(text)}</pre></details>"
        for name, text in found.configuration.items()
    )
    return f"<h2>Configuration</h2>{folded}" if folded else ""


def _value(value: object) -> str:
    if isinstance(value, list):
        return "<br>".join(escape(str(item)) for item in value)
    return escape(str(value))


def _prose(text: str) -> str:
    """A sentence as HTML, with backquoted parts as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _moment(at_s: float | None) -> str:
    return "—" if at_s is None else time.strftime(MOMENT, time.localtime(at_s))


def _gib(of: Spread) -> str:
    return f"{of.most / GIB:.1f} GiB"
