"""The README of an exported folder: how to run what lies in it without Inceptory."""

from __future__ import annotations

from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.answers import HINTS, PIXELS
from inceptory.engines.exported import FILES, Target
from inceptory.errors import printable
from inceptory.run.exports.targets import Work

PACKAGES: dict[Target, str] = {
    "onnx": "import onnxruntime as ort",
    "openvino": "import openvino as ov",
    "torch-export": "import torch",
}

LABELS = 'open("labels.txt", encoding="utf-8").read().splitlines()'

ENDINGS: dict[Target, str] = {
    "torch-export": "torch.export.load runs what the file says: load only one that you trust. Inceptory reads none."
}


def lines(work: Work) -> str:
    """Python that answers for cat.jpg: what it imports, and three lines."""
    card = work.card
    imports = ["import numpy as np", PACKAGES[work.to], "from PIL import Image, ImageOps"]
    if not card.labels:
        ending = "print(answers)"
    elif card.multi_label:
        ending = f"print([(label, p) for label, p in zip({LABELS}, answers) if p > 0.5])"
    else:
        ending = f"print({LABELS}[answers.argmax()], answers.max())"
    return "\n".join([*imports, "", _prepared(work.preprocess), f"answers = {_call(work)}[0]", ending])


def _call(work: Work) -> str:
    file = FILES[work.to][0]
    output = "probabilities" if work.model.plan.classes else "vectors"
    match work.to:
        case "onnx":
            return f'ort.InferenceSession("{file}").run(["{output}"], {{"{PIXELS}": pixels}})[0]'
        case "openvino":
            # Without a hint it takes bf16 where it can.
            hint = f'{{"INFERENCE_PRECISION_HINT": "{HINTS[work.precision]}"}}'
            return f'ov.compile_model("{file}", "CPU", {hint})(pixels)["{output}"]'
        case "torch-export":
            return f'torch.export.load("{file}").module()(torch.from_numpy(pixels))[0].detach().numpy()'


def _prepared(preprocess: Preprocess) -> str:
    """One line from cat.jpg to `pixels`."""
    mode, size = "L" if preprocess.order == "L" else "RGB", (preprocess.size, preprocess.size)
    picture = f'ImageOps.exif_transpose(Image.open("cat.jpg")).convert("{mode}")'
    method = f"Image.Resampling.{preprocess.filter.upper()}"
    share = preprocess.central_fraction
    if preprocess.resize is not None:
        # `fit` cuts the borders off and resizes what is left, in one go.
        bleed = (1 - share * preprocess.size / preprocess.resize) / 2
        picture = f"ImageOps.fit({picture}, {size}, {method}{f', bleed={bleed:.6g}' if bleed > 0 else ''})"
    elif share == 1:
        picture = f"{picture}.resize({size}, {method})"
    else:
        low, high = (1 - share) / 2, (1 + share) / 2
        box = f"(p.width * {low:.6g}, p.height * {low:.6g}, p.width * {high:.6g}, p.height * {high:.6g})"
        picture = f"(p := {picture}).resize({size}, {method}, {box})"
    array = f"np.array({picture})[None]"
    return f"pixels = {array}[..., None]" if mode == "L" else f"pixels = {array}"


def readme(work: Work, told: str) -> str:
    """The text of README.md; `told` are the figures of the proof in words."""
    plan, preprocess = work.model.plan, work.preprocess
    side, channels = preprocess.size, len(preprocess.mean)
    outputs = "`probabilities`, `logits` and `vectors`" if plan.classes else "`vectors`"
    installed = {"onnx": "onnxruntime", "openvino": "openvino", "torch-export": "torch"}[work.to]
    exact = ""
    if not preprocess.antialias or (preprocess.resize or side) < side:
        exact = (
            "\nInceptory resizes a little differently than Pillow does here, so that its own answers differ a little.\n"
        )
    return f"""# {printable(plan.architecture)} for {work.to}, {work.precision}

Needs `pip install {installed} numpy Pillow`, not Inceptory:

```python
{lines(work)}
```

- `{FILES[work.to][0]}` takes `{PIXELS}`, uint8 of (N, {side}, {side}, {channels}), for any N, and gives {outputs}.
  The value map is inside, and so is the {"sigmoid" if work.card.multi_label else "softmax"}.
- Pictures are prepared so: {preprocess}.
{exact}- `labels.txt` has the classes in the order of the answers, `card.json` all that is known of the network.
- `proof.json` and `proof.html`: {told}
- {ENDINGS.get(work.to, "`inceptory predict` and `inceptory evaluate` take this folder as a model.")}
"""
