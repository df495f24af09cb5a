"""The report of a run as one HTML file: it fetches nothing, and all text is escaped."""

from __future__ import annotations

import hashlib
import re
import time
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from gpuops import __version__
from gpuops.core.report.report import Report, Stretch
from gpuops.core.report.scale import Scale, shared_axis
from gpuops.text import GIB, many
from gpuops.ui import words
from gpuops.ui.report import plots
from gpuops.ui.report.report import DOING, ran, shares, taken, used

NO_STEPS = "No steps were logged: the curves are what was recorded of the processes and the host."
MOMENT = "%Y-%m-%d %H:%M:%S %Z"


def page(found: Report) -> str:
    """The page, as HTML."""
    own = files("gpuops.ui.report")
    style, script = (own.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    allowed = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    sources = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    policy = f"{sources}; script-src 'sha256-{allowed}'"
    sections = (
        _header, _tiles, _band, _troubles, _charts, _attempts, _gpus, _environment, _configuration,
    )  # fmt: skip
    parts = filter(None, (section(found) for section in sections))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(found.run.run_id)}</title>\n<style>\n{style}</style></head>\n"
        f"<body><main>\n{chr(10).join(parts)}\n"
        f"<footer>Written by gpuops {escape(__version__)} on {_moment(found.made_at)}.</footer>"
        f"</main>\n<script>{script}</script></body></html>\n"
    )


def _header(found: Report) -> str:
    run = found.run
    where = found.environment.get("host")
    about = [run.target, many(run.workers, "worker"), f"profile {run.profile}"]
    about += [f"on {where}"] if isinstance(where, str) else []
    about += [] if run.ours else [f"of {run.owner}"]
    about += [f"began {_moment(found.attempts[0].started_at)}"] if found.attempts else []
    still = ""
    if run.status == "running":
        note = f"It is still running: this is how it stood on {_moment(found.made_at)}."
        still = f'<p class="note running">{note}</p>'
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
        rest = [share for name, share in shares(found).items() if name != "train"]
        tiles.append(("Time in training", f"{100 * found.shares['train']:.0f} %", ", ".join(rest)))
    tiles += _uses(found)
    cells = "".join(
        f'<dl class="tile panel"><dt>{escape(name)}</dt><dd>{escape(value)}</dd>'
        f"<small>{escape(about).replace(' %', '&nbsp;%')}</small></dl>"
        for name, value, about in tiles
    )
    lost = ""
    if found.not_finite:
        about = f"{found.not_finite} of the logged losses are not finite; the curves break there."
        lost = f'<p class="note failed">{about}</p>'
    columns = len(tiles) if len(tiles) <= 6 else -(-len(tiles) // 2)
    return f'<div class="tiles" style="--columns:{columns}">{cells}</div>{lost}'


def _uses(found: Report) -> list[tuple[str, str, str]]:
    """How the GPUs were used; without GPUs, the host."""
    tiles = []
    if used := [gpu.utilization_pct.median for gpu in found.gpus if gpu.utilization_pct]:
        about = "the median" if len(used) == 1 else f"median of the idlest of {len(used)} GPUs"
        tiles.append(("GPU utilisation", f"{min(used):.0f} %", about))
    if full := [gpu.memory_used_bytes.most for gpu in found.gpus if gpu.memory_used_bytes]:
        tiles.append(("GPU memory", f"{max(full) / GIB:.1f} GiB", "at most, of a GPU"))
    if drawn := [gpu.power_w.median for gpu in found.gpus if gpu.power_w]:
        tiles.append(("GPU power", f"{sum(drawn):.0f} W", "medians of all GPUs together"))
    if not found.gpus and found.cpu_cores:
        most = f"at most {found.cpu_cores.most:.1f}"
        tiles.append(("CPU cores in use", f"{found.cpu_cores.median:.1f}", most))
    if not found.gpus and found.memory_bytes:
        most = f"{found.memory_bytes.most / GIB:.1f} GiB"
        tiles.append(("Host memory", most, "at most, of all ranks"))
    return tiles


def _band(found: Report) -> str:
    """The running time as a band of phases, with marks."""
    if not found.phases and len(found.attempts) < 2:
        return ""
    scale = Scale(low=0.0, high=found.running_s or 1.0)
    stretches = "".join(_stretch(stretch, scale) for stretch in found.phases)
    marks = "".join(
        f'<i class="{plots.kind_class(mark.kind)}" title="{escape(mark.words)}" '
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
    kinds = dict.fromkeys(mark.kind for mark in found.marks if mark.kind in plots.MARKS)
    key += [f'<li class="line {kind}">{plots.MARKS[kind]}</li>' for kind in kinds]
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
        advice = f'<p class="advice">{_prose(trouble.advice)}</p>' if trouble.advice else ""
        whole = _folded("", "The whole diagnosis", trouble.text) if trouble.text else ""
        parts.append(
            f'<article class="trouble panel {plots.kind_class(trouble.what)}">'
            f"<h3>{escape(trouble.title)} "
            f'<span class="pill">{escape(trouble.what)}</span><time>attempt {trouble.attempt}, '
            f"{_moment(trouble.at_s)}</time></h3><p>{_prose(words.sentence(trouble.why))}</p>"
            f"{advice}{whole}</article>"
        )
    return f"<h2>What went wrong</h2>{''.join(parts)}"


def _charts(found: Report) -> str:
    if not found.charts:
        why = "There are no curves: nothing was logged, and nothing recorded while it ran."
        return f'<p class="note attempt">{why}</p>'
    seen = [chart for chart in found.charts if chart.over == "time"]
    logged = [chart for chart in found.charts if chart.over == "steps"]
    axes = {"steps": shared_axis(logged), "time": shared_axis(seen, found.running_s)}
    first = [chart for chart in logged if chart.title in {"Loss", "Learning rate"}]
    job = [chart for chart in seen if not chart.title.startswith(("GPU", "CPU", "Host"))]
    sections = {
        "Training": [*first, *job],
        "GPUs": [chart for chart in seen if chart.title.startswith("GPU")],
        "Host": [chart for chart in seen if chart.title.startswith(("CPU", "Host"))],
        "All other figures": [chart for chart in logged if chart not in first],
    }
    parts = [] if logged else [f'<p class="note attempt">{NO_STEPS}</p>']
    for name, charts in sections.items():
        drawn = (
            plots.chart(chart, axes[chart.over], found.marks, "wide" * (chart.title == "Loss"))
            for chart in charts
        )
        size = " small" if name == "All other figures" else ""
        if charts:
            parts.append(f'<h2>{name}</h2><div class="charts{size}">{"".join(drawn)}</div>')
    return "".join(parts)


def _attempts(found: Report) -> str:
    rows = [
        (
            str(span.number),
            _moment(span.started_at),
            *taken(span),
            f'<span class="pill {escape(span.ending)}">{escape(span.ending)}</span>',
            escape(span.follows or ""),
        )
        for span in found.attempts
    ]
    return _table("Attempts", ("attempt", "began", "took", "steps", "ended", "then"), rows)


def _gpus(found: Report) -> str:
    rows = [(f"GPU {gpu.index}", *used(gpu)) for gpu in found.gpus]
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
    cells = "".join(
        f"<div><dt>{escape(str(name).replace('_', ' '))}</dt><dd>{_value(value)}</dd></div>"
        for name, value in found.environment.items()
        if value not in (None, [])
    )
    cells += f'<div class="wide"><dt>folder</dt><dd>{escape(found.run.path)}</dd></div>'
    return f'<h2>Where it ran</h2><dl class="facts panel">{cells}</dl>'


def _configuration(found: Report) -> str:
    folded = "".join(
        _folded(' class="folded panel"', name, text) for name, text in found.configuration.items()
    )
    return f"<h2>Configuration</h2>{folded}" if folded else ""


def _folded(attributes: str, title: str, text: str) -> str:
    summary = f"<summary>{escape(title)}</summary>"
    return f"<details{attributes}>{summary}<pre>{escape(text)}</pre></details>"


def _value(value: object) -> str:
    if isinstance(value, list):
        return "<br>".join(escape(str(item)) for item in value)
    return escape(str(value))


def _prose(text: str) -> str:
    """A sentence as HTML, with backquoted parts as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _moment(at_s: float | None) -> str:
    return "—" if at_s is None else time.strftime(MOMENT, time.localtime(at_s))
