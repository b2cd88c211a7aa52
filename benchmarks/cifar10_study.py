"""Why do Inceptions for ImageNet do badly on 32x32 pictures, and what is each piece of `fast` worth? Equal minutes.

    python benchmarks/cifar10_study.py OUT [--time 8m] [--seed 0] [--only NAME ...] [--picture FILE.png]

`cifar_inception_fast` with one thing changed at a time. A changed network gets the width at which its multiply-adds are
nearest to the original's; a changed recipe is one flag of `inceptory train`. Each is trained for the same time from
its start to its report, on all training pictures but 100, and its last epoch measured on the test pictures as they
are and with their mirror images.

OUT keeps a row for each in rows.jsonl; the same command goes on with what is missing, and an interrupted training is
resumed. Nothing else may run beside.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import inceptory
from inceptory.learn.settings.options import Options
from inceptory.measure.metrics import wilson
from inceptory.measure.single_label import SingleMetrics
from inceptory.nets.architecture import Architecture
from inceptory.nets.blocks import Act, Concat, Conv, Init, Node, Pool, Residual, Switches, Tree
from inceptory.nets.catalogue import catalogue, plan
from inceptory.nets.notation import avg, chain, concat, conv, maxpool
from inceptory.nets.transform import rebuild_tree

NAME = "cifar_inception_fast"
VALIDATION = 0.002
"""Share of the training pictures that choose nothing here: the last epoch is measured."""
CHANGED: dict[str, tuple[str, Callable[[Concat], Node] | None]] = {}
"""Networks: what is said of them, and what becomes of each module."""
PIECES: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("ReLU in place of SiLU", {"activation": "relu"}),
    "large last layer": ("a last layer that begins at He's size, not near zero", {"dense_init": Init("he_normal")}),
    "random start": ("3x3 kernels begin at random, not as the identity", {"init": Init("he_normal")}),
}
"""Networks: what is said of them, and what their dialect has in place of the original's."""
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "adamw": ("AdamW in place of Muon", {"optimizer": "adamw", "lr": 0.004, "momentum": 0.9, "rms_decay": 0.99}),
    "not whitened": ("first convolution learned, not whitened", {"whitening": False}),
    "flips by chance": ("mirrored by chance, not alternately", {"flip": "random"}),
    "no smoothing": ("no label smoothing", {"label_smoothing": 0.0}),
    "no moves": ("pictures not moved", {"shift": 0.0}),
    "one light": ("no picture shifted and stretched as a whole", {"light": 0.0}),
    "batch 128": ("batches of 128", {"batch": 128}),
    "easy left out": ("three tenths of the pictures left out by chance, of the easier half", {"skip_easy": 0.3}),
}
"""Recipes: what is said of them, and their flags."""


def changed(name: str, says: str) -> Callable[[Callable[[Concat], Node]], Callable[[Concat], Node]]:
    """Enter a change of modules among the networks."""

    def enter(change: Callable[[Concat], Node]) -> Callable[[Concat], Node]:
        CHANGED[name] = (says, change)
        return change

    return enter


def eighth(module: Concat) -> int:
    """A module's filters, of which its first branch has an eighth."""
    first = module.branches[0].nodes[0]
    assert isinstance(first, Conv)
    return first.filters


@changed("factorised", "1x7 and 7x1 in place of 3x3, as in v3's middle modules")
def factorised(module: Concat) -> Node:
    e = eighth(module)
    return concat(
        [conv(e, 1)],
        [conv(2 * e, 1), conv(2 * e, (1, 7)), conv(4 * e, (7, 1))],
        [conv(e, 1), conv(e, (7, 1)), conv(e, (1, 7)), conv(e, (7, 1)), conv(2 * e, (1, 7))],
        [avg(3), conv(e, 1)],
    )


@changed("reduced", "a 1x1 in front of every 3x3, as in GoogLeNet")
def reduced(module: Concat) -> Node:
    e = eighth(module)
    return concat(
        [conv(e, 1)],
        [conv(2 * e, 1), conv(4 * e, 3)],
        [conv(e, 1), conv(2 * e, 3), conv(2 * e, 3)],
        [avg(3), conv(e, 1)],
    )


@changed("no pool branch", "no pooled branch: its filters are 1x1")
def without_pool(module: Concat) -> Node:
    return replace(module, branches=(chain(conv(2 * eighth(module), 1)), *module.branches[1:3]))


@changed("residual", "a shortcut around each module, as in Inception-ResNet")
def residual(module: Concat) -> Node:
    return chain(Residual(module, project=True, act=False), Act())


CHANGED["early"] = ("half the grid lost in the first convolution, as in ImageNet's stems", None)
COLOURS: dict[str, dict[str, Any]] = {"#2f6fb5": CHANGED, "#3d8b5f": PIECES, "#c46a3a": RECIPES}
ALL: dict[str, tuple[str, Any]] = {NAME: ("as it is", None), **CHANGED, **PIECES, **RECIPES}
"""Every training, in the order of the table: what is said of it, and what is changed."""


def pieced(name: str, says: str, pieces: dict[str, Any]) -> Architecture:
    """`cifar_inception_fast` with other defaults."""
    origin = catalogue()[NAME]
    ((dialect, switches),) = origin.dialects.items()
    other = replace(switches, defaults=replace(switches.defaults, **pieces))
    return replace(origin, name=name, title=says, dialects={dialect: other})


def architecture(name: str, says: str, change: Callable[[Concat], Node] | None) -> Architecture:
    """`cifar_inception_fast` with every module changed, or, without a change, with half of its grid."""
    origin = catalogue()[NAME]

    def altered(node: Node) -> Node:
        # A module has four branches, a reduction two.
        if change is not None:
            return change(node) if isinstance(node, Concat) and len(node.branches) == 4 else node
        # On half of the grid a 3x3 with stride 2 needs its border, or half of the map is lost again.
        return replace(node, pad="same") if isinstance(node, Conv | Pool) and node.stride == 2 else node

    def build(s: Switches) -> Tree:
        tree = rebuild_tree(origin.build(s), altered)
        if change is not None:
            return tree
        first = replace(tree.stages[0], body=conv(24, 2, 2, pad="valid", bias=True, norm=False))
        last = replace(tree.stages[-1], body=maxpool(2, 2))  # takes what is left, four cells
        return replace(tree, stages=(first, *tree.stages[1:-1], last))

    return replace(origin, name=name, title=says, build=build)


def width(name: str) -> float:
    """The width at which a network's multiply-adds are nearest to the original's."""
    wanted = plan(NAME).numbers()["macs"]
    widths = [0.5 + 0.01 * step for step in range(151)]
    return min(widths, key=lambda each: abs(plan(name, width=round(each, 2)).numbers()["macs"] - wanted))


def trained(name: str, options: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """The row of a training."""
    network = NAME if name in RECIPES else name
    wide = round(width(network), 2) if name in CHANGED else 1.0
    folder = given.out / name.replace(" ", "-")
    if (folder / "run.json").exists():
        run = inceptory.train(resume=folder)
    else:
        asked = Options(time=given.time, seed=given.seed, validation=VALIDATION, **options)
        variant = inceptory.Variant(width=wide)
        run = inceptory.train(given.data, model=network, out=folder, tensorboard=False, variant=variant, options=asked)
    last, numbers = folder / "last.safetensors", plan(network, width=wide).numbers()
    top1 = {}
    for column, views in (("plain", "1"), ("mirrored", "flip")):
        metrics = inceptory.evaluate(last, given.data, split="test", views=views, engine="torch")
        top1[column], count = cast(SingleMetrics, metrics).top1, metrics.n
    return {
        "name": name,
        "says": ALL[name][0],
        "width": wide,
        "macs": numbers["macs"],
        "parameters": numbers["total"],
        "epochs": len(run.epochs),
        "minutes": round(run.minutes, 2),
        **top1,
        "n": count,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A row for each, with the interval of its accuracy over pictures."""
    lines = ["| | MMACs | parameters | epochs | plain, % (95 % interval) | mirrored, % |", "|---|---|---|---|---|---|"]
    for row in rows:
        low, high = (f"{100 * end:.2f}" for end in wilson(round(row["plain"] * row["n"]), row["n"]))
        own = [f"{row['macs'] / 1e6:.1f}", f"{row['parameters']:,}", row["epochs"]]
        figures = [f"{100 * row['plain']:.2f} ({low} to {high})", f"{100 * row['mirrored']:.2f}"]
        lines.append(f"| {row['says']} | {' | '.join(map(str, [*own, *figures]))} |")
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """Plain accuracy of each with its interval; networks above their pieces above recipes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.42 * len(rows) + 1.1), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(reversed(rows)):
        low, high = wilson(round(row["plain"] * row["n"]), row["n"])
        own = [colour for colour, kind in COLOURS.items() if row["name"] in kind]
        colour = own[0] if own else "#222222"
        axes.plot([100 * low, 100 * high], [place, place], color=colour, linewidth=2)
        axes.plot(100 * row["plain"], place, "o", color=colour)
        axes.annotate(f"{100 * row['plain']:.1f}", (100 * row["plain"], place), (0, 6), textcoords="offset points")
    axes.set_yticks(range(len(rows)), [row["says"] for row in reversed(rows)])
    colours = "blue: networks of as many multiply-adds, green: their pieces, red: recipes"
    axes.set_xlabel(f"test top-1, %, with its 95 % interval\n{colours}")
    axes.grid(axis="x", color="#dddddd")
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--time", default="8m")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=ALL, default=list(ALL))
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    for name, (says, change) in CHANGED.items():
        # For this process alone; `train` finds networks by name.
        cast(dict[str, Architecture], catalogue())[name] = architecture(name, says, change)
    for name, (says, pieces) in PIECES.items():
        cast(dict[str, Architecture], catalogue())[name] = pieced(name, says, pieces)
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "rows.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    for name in given.only:
        if name not in {row["name"] for row in rows}:
            rows.append(trained(name, RECIPES[name][1] if name in RECIPES else {}, given))
            with open(kept, "a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    order = list(ALL)
    rows = sorted((row for row in rows if row["name"] in given.only), key=lambda row: order.index(row["name"]))
    print(table(rows))
    if given.picture:
        draw(rows, given.picture)


if __name__ == "__main__":
    main()
