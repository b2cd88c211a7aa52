"""Makes the READMEs' table and picture of speed from results.csv: `make bench`.

    python benchmarks/engines_table.py [--check]

For each network and batch the newest rows that were timed beside nothing else, with all that the processor has, count.
With --check nothing is written, and the names of files that would change are printed.
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
LIMITED = "limited to"
"""How `engines.py` says that a processor was kept from newer instructions."""
RESULTS, PICTURE = HERE / "results.csv", HERE.parent / "docs/pictures/bench.svg"
READMES = (HERE.parent / "README.md", HERE.parent / "README.zh-CN.md")
OPENS, CLOSES = "<!-- bench -->\n", "<!-- /bench -->"
COLUMNS = {
    "Keras": ("keras", "fp32"),
    "torchvision": ("torchvision", "fp32"),
    "timm": ("timm", "fp32"),
    **{f"OpenVINO {precision}": ("openvino", precision) for precision in ("fp32", "bf16", "int8")},
    **{f"Inceptory {precision}": ("", precision) for precision in ("fp32", "bf16", "int8")},
}
SHADES = ["#c9c9c9", "#b0b0b0", "#979797", "#8fb8de", "#5b95cc", "#2f6fae", "#f2b880", "#e98a3a", "#c4600c"]
SHOWN = 16
"""Batch of the picture."""

Group = tuple[str, int]
Rates = dict[Group, dict[str, float]]


def read() -> tuple[Rates, dict[str, list[str]]]:
    """(images per second by column, by network and batch; (date, machine) of each network)."""
    with open(RESULTS, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["busy"] == "False" and LIMITED not in row["machine"]]
    newest, rates = dict[str, str](), Rates()
    for row in rows:
        newest[row["model"]] = max(newest.get(row["model"], ""), row["date"])
    where = {row["model"]: [row["date"], row["machine"]] for row in rows if row["date"] == newest[row["model"]]}
    names = {kind: name for name, kind in COLUMNS.items()}
    # Of several runs of one day the last counts; of several engines of ours the fastest.
    last = {}
    for row in rows:
        if row["date"] == newest[row["model"]]:
            last[row["model"], row["batch"], row["engine"], row["precision"], row["peer"]] = row
    for row in last.values():
        group = rates.setdefault((row["model"], int(row["batch"])), {})
        name = names[row["peer"], row["precision"]]
        group[name] = max(group.get(name, 0.0), float(row["images_per_s"]))
    return rates, where


def table(rates: Rates, where: dict[str, list[str]]) -> str:
    """Markdown; the fastest of each line is bold."""
    lines = [["network", "batch", *COLUMNS, "date"], ["---", "---:", *["---:"] * len(COLUMNS), "---"]]
    for (model, batch), group in sorted(rates.items(), key=lambda pair: (list(where).index(pair[0][0]), pair[0][1])):
        best = max(group, key=group.__getitem__)
        cells = [f"{group[name]:.1f}" if name in group else "" for name in COLUMNS]
        cells = [f"**{cell}**" if name == best else cell for name, cell in zip(COLUMNS, cells, strict=True)]
        lines.append([model, str(batch), *cells, where[model][0]])
    machines = "; ".join(dict.fromkeys(machine for _, machine in where.values()))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{machines}.\n"


def picture(rates: Rates) -> str:
    """Bars by network, as SVG."""
    groups = {model: group for (model, batch), group in rates.items() if batch == SHOWN} or {
        model: group for (model, _), group in rates.items()
    }
    plt.rcParams.update({"svg.hashsalt": "inceptory", "font.size": 9})
    figure, axes = plt.subplots(figsize=(9, 0.8 + 1.5 * len(groups)))
    names, height = list(COLUMNS), 0.9 / len(COLUMNS)
    for i, name in enumerate(names):
        places = [
            row + (i - (len(names) - 1) / 2) * height for row, group in enumerate(groups.values()) if name in group
        ]
        values = [group[name] for group in groups.values() if name in group]
        bars = axes.barh(places, values, height * 0.92, color=SHADES[i], label=name)
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=7)
    axes.set_yticks(range(len(groups)), list(groups))
    axes.invert_yaxis()
    axes.set_xlabel(f"images per second, batch {SHOWN}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    figure.tight_layout()
    target = io.StringIO()
    figure.savefig(target, format="svg", metadata={"Date": None})
    plt.close(figure)
    return target.getvalue()


def main() -> int:
    rates, where = read()
    made = {PICTURE: picture(rates)}
    for path in READMES:
        before, _, rest = path.read_text(encoding="utf-8").partition(OPENS)
        made[path] = before + OPENS + table(rates, where) + CLOSES + rest.partition(CLOSES)[2]
    stale = [path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        print(*(f"{path.name}: stale (run: make bench)" for path in stale), sep="\n", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(made[path], encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
