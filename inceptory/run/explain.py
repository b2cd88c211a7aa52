"""`explain`: where in a picture its labels come from, and which branches of the network they rest on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from inceptory.engines.explain.branches import Joint, joint_of, located, require_stage
from inceptory.errors import DataError, UsageError, printable
from inceptory.report.explained import TITLE
from inceptory.run.evaluate import checkpoint
from inceptory.run.pictures import Distinct, Reading, pictures_meant, require_outside
from inceptory.system.outputs import MARK, Kind, Output, claimed, keyed

if TYPE_CHECKING:
    from inceptory.engines.explain.attribution import Attribution
    from inceptory.engines.torch import TorchEngine

BATCH = 8
"""Pictures explained at a time: a way back through a network keeps its maps."""
MOST = 10
"""Panels beside one another that can still be looked at."""
ROUNDING = 1e-3
"""A rest below this share of the largest contribution is left out of the drawing."""
RECORD = "explain.json"
DRAWING = Kind("an explanation", lambda ends: MARK.encode() in ends and f"Title\0{TITLE}".encode() in ends)
RECORDS = keyed("explanations", "model", "stage", "module", "parts", "pictures")


@dataclass(frozen=True)
class Explanation:
    """One picture's best labels and what they rest on."""

    picture: str
    drawing: str
    """The PNG's name in the folder."""
    labels: tuple[str, ...]
    """Best first."""
    probabilities: tuple[float, ...]
    """From 0 to 1, in the order of `labels`."""
    logits: tuple[float, ...]
    contributions: tuple[dict[str, float], ...]
    """For each label what each part of the module adds to its logit, and "bias" of the classifier; "rest" is what
    is not explained by them."""

    def __str__(self) -> str:
        ranked = zip(self.labels, self.probabilities, strict=True)
        answers = ", ".join(f"{name} {100 * p:.1f} %" for name, p in ranked)
        return printable(f"{self.picture}: {answers} ({self.drawing})")


@dataclass(frozen=True)
class Explanations:
    """What `explain` drew; iterates over the pictures that could be read."""

    folder: Path
    stage: str
    """After which the heat maps were taken."""
    module: str
    """Whose parts are weighed."""
    explanations: tuple[Explanation, ...]
    skipped: tuple[str, ...]
    """One line for each picture that could not be read."""

    def __iter__(self) -> Iterator[Explanation]:
        return iter(self.explanations)

    def __len__(self) -> int:
        return len(self.explanations)

    def __str__(self) -> str:
        last = f"in {self.folder}: a PNG for each, and {RECORD} (heat after {self.stage}, parts of {self.module})"
        return "\n".join([*map(str, self.explanations), printable(last)])


def explain(
    model: Path | str,
    /,
    *images: Path | str,
    out: Path | str | None = None,
    layer: str | None = None,
    module: str | None = None,
    top: int = 3,
    force: bool = False,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    weights: Path | None = None,
    raw: bool = False,
) -> Explanations:
    """Show where in pictures their labels come from, and what each branch adds.

    For example:

        inceptory explain runs/photos cat.jpg --out why

        inceptory explain inception_v3.tf_in1k holiday/ --out why --layer Mixed_6e --module Mixed_7b --top 5

    Parameters
    ----------
    model
        A checkpoint, a run folder, anybody's weight file, or a published name (`inceptory weights`).
    images
        Pictures, or folders that are searched for them. Unreadable ones are named, counted, skipped.
    out
        Folder for a PNG of each picture and for explain.json: labels, probabilities and what each branch
        adds to the logit. Pictures of one name in several folders get a number. It may not lie in a
        folder that is searched.
    layer
        Stage after which the heat map is taken (Grad-CAM: Selvaraju et al. 2017); unless said, the last
        whose map has 4 positions a side or more. Early stages have finer maps and know less of the
        classes. `inceptory show` lists the stages.
    module
        Stage whose branches are weighed: gradient times activation, summed over each branch's channels;
        of a residual stage the shortcut too. The last with branches side by side unless said; for the
        last stage of a network with a linear classifier, branches and bias add up to the logit.
    top
        Labels to explain for each picture, the most probable first.
    force
        Replace files of these names that this command has not written. What it reads is never replaced.
    device
        Where to compute, in fp32; auto takes cuda, mps, cpu.
    weights
        A copy of the published file that `model` names, fetched by hand.
    raw
        If a weight file holds averaged weights as well, take the weights without averaging.
    """
    if not 1 <= top <= MOST:
        raise UsageError(f"--top {top}: out of range (1 to {MOST})")
    if out is None:
        raise UsageError("explain needs a folder for what it draws (give --out)")
    paths, folder = pictures_meant(images, "explain"), Path(out)
    require_outside(folder, images, "--out")
    with ExitStack() as stack:
        opened = stack.enter_context(checkpoint(model, weights, raw))
        if layer is not None:
            require_stage(opened.plan, layer)
        joint, stage = joint_of(opened.plan, module), layer or located(opened.plan)

        def place(name: str, kind: Kind) -> Output:
            return stack.enter_context(claimed(folder / name, kind, inputs=[opened.path, *images], force=force))

        distinct = Distinct()
        record, places = place(RECORD, RECORDS), [place(distinct(path.stem, ".png"), DRAWING) for path in paths]
        from inceptory.engines.torch import torch_engine
        from inceptory.report.folder import json_page

        engine = torch_engine(opened, device, "fp32")
        reading = Reading(paths, engine.preprocess)
        explanations = [*_explained(reading, engine, opened.card.labels, places, stage, joint, top)]
        settings = {"model": str(opened.path), "network": opened.plan.architecture}
        stages = {"stage": stage, "module": joint.stage, "parts": joint.words}
        pictures = {"pictures": [each.__dict__ for each in explanations], "skipped": reading.skipped}
        record.write(json_page({**settings, **stages, **pictures}))
    return Explanations(folder, stage, joint.stage, tuple(explanations), tuple(reading.skipped))


def _explained(
    reading: Reading,
    engine: TorchEngine,
    labels: Sequence[str],
    places: Sequence[Output],
    stage: str,
    joint: Joint,
    top: int,
) -> Iterator[Explanation]:
    """The pictures that can be read, each drawn as it is explained."""
    import numpy as np

    from inceptory.engines.explain.attribution import attribute
    from inceptory.report.explained import Panel, explained
    from inceptory.report.plots import names as drawable

    names = drawable(labels)
    for decoded in reading.batches("explaining", BATCH):
        if not len(decoded.rows):
            continue
        attribution = attribute(engine, decoded.pixels, stage, joint, top)
        for number, row in enumerate(decoded.rows.tolist()):
            if not np.isfinite(attribution.logits[number]).all():
                raise DataError(
                    f"{reading.paths[row]}: its answer is not a finite number (the weights may be damaged; train again)"
                )
            explanation = _explanation(attribution, number, reading.paths[row], places[row].path.name, labels, joint)
            picture = decoded.pixels[number, :: -1 if engine.preprocess.order == "BGR" else 1].transpose(1, 2, 0)
            drawn = [names[label] for label in attribution.best[number].tolist()]
            panels = map(Panel, drawn, explanation.probabilities, attribution.heat[number], _shown(explanation, joint))
            places[row].write(explained(picture, stage, joint.stage, [*panels]))
            yield explanation


def _explanation(
    attribution: Attribution, number: int, path: Path, drawing: str, labels: Sequence[str], joint: Joint
) -> Explanation:
    logits, biases = attribution.logits[number].tolist(), attribution.bias[number].tolist()
    contributions = []
    for logit, bias, parts in zip(logits, biases, attribution.contributions[number].tolist(), strict=True):
        explained = {**dict(zip(joint.names, parts, strict=True)), "bias": bias}
        contributions.append({**explained, "rest": logit - sum(explained.values())})
    return Explanation(
        picture=str(path),
        drawing=drawing,
        labels=tuple(labels[label] for label in attribution.best[number].tolist()),
        probabilities=tuple(attribution.probabilities[number].tolist()),
        logits=tuple(logits),
        contributions=tuple(contributions),
    )


def _shown(explanation: Explanation, joint: Joint) -> list[dict[str, float]]:
    """The contributions by what each part is, "branch1  3x3"; without a rest that is rounding."""
    words = {name: name if name == word else f"{name}  {word}" for name, word in joint.words.items()}
    exact = all(abs(parts["rest"]) < ROUNDING * max(map(abs, parts.values())) for parts in explanation.contributions)
    return [
        {words.get(name, name): value for name, value in parts.items() if not (exact and name == "rest")}
        for parts in explanation.contributions
    ]
