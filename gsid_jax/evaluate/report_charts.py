"""Charts of the report as inline SVG: training curves, and differences with their intervals."""

import html
import math
import pathlib
from collections.abc import Mapping, Sequence

COLOURS = ("var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)", "var(--c6)")
WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 26
MAX_POINTS = 200

# tag of TensorBoard -> title; each becomes a chart with a line a stage
CURVES = (
    ("train/cross_entropy", "Pre-training: cross-entropy a token"),
    ("train/contrastive", "Contrastive loss"),
    ("train/query_accuracy", "Query finds its item in the batch"),
    ("train/perplexity", "Perplexity of the codes"),
    ("train/conditional_perplexity", "Conditional perplexity"),
    ("train/commitment", "Code commitment"),
)

Points = Sequence[tuple[float, float]]


def read_scalars(stage_dir: pathlib.Path) -> dict[str, list[tuple[float, float]]]:
    """tag -> [(step, value)] from a stage's TensorBoard events; {} where there are none.

    A resumed run leaves several files: of one step the latest value counts. TensorBoard's reader
    of records is used without TensorFlow; a file cut off by a kill ends where it is broken.
    """
    files = sorted((stage_dir / "tensorboard").glob("events.out.tfevents.*"))
    if not files:
        return {}
    from tensorboard.compat.proto import event_pb2
    from tensorboard.compat.tensorflow_stub import errors
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New
    from tensorboard.util import tensor_util
    found: dict[str, dict[int, float]] = {}
    for file in files:
        reader = PyRecordReader_New(str(file))
        while True:
            try:
                reader.GetNext()
            except (errors.OutOfRangeError, errors.DataLossError):
                break
            event = event_pb2.Event.FromString(reader.record())
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    number = value.simple_value
                elif value.HasField("tensor") and not value.tensor.string_val:
                    number = tensor_util.make_ndarray(value.tensor)
                    if number.size != 1:
                        continue
                else:
                    continue
                found.setdefault(value.tag, {})[event.step] = float(number)
    return {tag: sorted(points.items()) for tag, points in found.items()}


def training(run_dirs: Sequence[pathlib.Path]) -> list[str]:
    """One chart for each of CURVES that the runs have; runs lie over each other."""
    stages: dict[str, list[Mapping[str, Points]]] = {}
    for run_dir in run_dirs:
        names = ["pretrain", *(f"step_{t}" for t in range(1, 17)), "fit", "dual_encoder"]
        for name in names:
            scalars = read_scalars(run_dir / name)
            if scalars:
                stages.setdefault(name, []).append(scalars)
    charts = []
    for tag, title in CURVES:
        series = [(name.replace("_", " "), [run[tag] for run in runs if tag in run])
                  for name, runs in stages.items() if any(tag in run for run in runs)]
        if series:
            charts.append(line_chart(title, series))
    return charts


def line_chart(title: str, series: Sequence[tuple[str, Sequence[Points]]]) -> str:
    """A figure with a line for each run of each series, and a legend."""
    points = [(x, y) for _, runs in series for run in runs for x, y in run if math.isfinite(y)]
    if not points:
        return ""
    x_low, x_high = 0, max(x for x, _ in points) or 1
    y_low, y_high = min(0, min(y for _, y in points)), max(y for _, y in points) or 1
    ticks = _ticks(y_low, y_high)
    y_high = max(y_high, ticks[-1])

    def place(x: float, y: float) -> str:
        across = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        up = HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low or 1) * (HEIGHT - TOP - BOTTOM)
        return f"{across:.1f},{up:.1f}"

    parts = []
    for tick in ticks:
        y = place(0, tick).split(",")[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
                     f'<text class="tick" x="{LEFT - 6}" y="{y}" dy="3.5" text-anchor="end">'
                     f'{tick:g}</text>')
    for tick in _ticks(x_low, x_high, 4):
        x = place(tick, y_low).split(",")[0]
        parts.append(f'<text class="tick" x="{x}" y="{HEIGHT - 8}" text-anchor="middle">'
                     f'{tick:,.0f}</text>')
    for number, (_, runs) in enumerate(series):
        for run in runs:
            kept = run[::max(1, len(run) // MAX_POINTS)]
            line = " ".join(place(x, y) for x, y in kept if math.isfinite(y))
            parts.append(f'<polyline points="{line}" style="stroke:'
                         f'{COLOURS[number % len(COLOURS)]}"/>')
    legend = "".join(f'<span><i style="background:{COLOURS[number % len(COLOURS)]}"></i>'
                     f"{html.escape(name)}</span>" for number, (name, _) in enumerate(series))
    return (f'<figure class="chart"><figcaption>{html.escape(title)}</figcaption>'
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">'
            f'{"".join(parts)}</svg><div class="legend">{legend}</div></figure>')


def _ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from low to high."""
    if high <= low:
        return [low]
    step = 10 ** math.floor(math.log10((high - low) / most))
    step = next(step * factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(step * i, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def intervals(title: str, rows: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """Differences (in points) with their 95% intervals, a line each, around a zero line."""
    if not rows:
        return ""
    scale = max(0.01, *(abs(each[end]) for _, each in rows for end in ("low", "high")))
    lines = []
    for name, each in rows:
        low, high, middle = (50 + 50 * each[key] / scale for key in ("low", "high", "difference"))
        kind = "ahead" if each["low"] > 0 else "behind" if each["high"] < 0 else "open"
        lines.append(
            f'<tr><th>{html.escape(name)}</th><td class="interval"><div class="track">'
            f'<span class="range {kind}" style="left:{low:.1f}%;width:{high - low:.1f}%"></span>'
            f'<span class="point {kind}" style="left:{middle:.1f}%"></span></div></td>'
            f'<td class="num">{100 * each["difference"]:+.1f}</td>'
            f'<td class="num muted">{100 * each["low"]:+.1f} to {100 * each["high"]:+.1f}</td></tr>')
    return (f'<figure class="intervals"><figcaption>{html.escape(title)}</figcaption>'
            f'<table>{"".join(lines)}</table></figure>')
