"""Which distance in feature space tells pictures unlike the training ones, and how well the p-values hold.

    python benchmarks/novelty.py FOLDER [MINUTES]

Trains a small backbone on 8 of CIFAR-10's classes for so many minutes (16), twice with other classes left out, and
keeps vectors and runs in FOLDER. For each it asks every kind of distance, fitted on 8,000 of the training vectors, to
tell the test pictures of the 8 classes from those of the 2 left out, from scikit-learn's digits and from noise. A
third set takes the first backbone for pictures that it was not trained on: 8 classes of the digits.

    python benchmarks/novelty.py FOLDER end-to-end

Takes the first backbone for two heads by `train --from`, on 8 classes of the digits and on CIFAR-10's pictures of its 8
classes that it has not seen, and has `predict` tell test pictures of these from others by the p-value.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.special import softmax
from sklearn.covariance import ledoit_wolf
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

import inceptory
from inceptory.data.feed.batches import normalise
from inceptory.data.sources.opening import open_source
from inceptory.engines.torch import torch_engine
from inceptory.measure.novelty import NUMBERS, Novelty
from inceptory.weights.model import open_model

Distance = Callable[[np.ndarray], np.ndarray]
"""Vectors (N, D) to distances (N,)."""

MODEL = "cifar_inception_v1"
LEFT_OUT = ((3, 5), (1, 9))
"""cat and dog; automobile and truck."""
TRAINING, FITTED, HELD_OUT = 4_000, 8_000, 2_000
"""Pictures a class that train the backbone; of these all classes together, that fit a distance; held out of both."""


def cifar(split: str) -> tuple[np.ndarray, np.ndarray]:
    part = open_source("cifar10").split(split)
    pixels = [np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")) for picture in part.pictures]
    return np.stack(pixels), np.asarray(part.labels)


def digits() -> tuple[np.ndarray, np.ndarray]:
    images, labels = load_digits().images, load_digits().target
    large = [Image.fromarray((image * 15.9375).astype(np.uint8)).resize((32, 32)).convert("RGB") for image in images]
    return np.stack([np.asarray(image) for image in large]), labels


def noise(n: int = 2_000) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


class Backbone:
    """A trained network as a function from pixels (N, 32, 32, 3) to vectors and logits."""

    def __init__(self, run: Path) -> None:
        with open_model(str(run)) as model:
            self._engine = torch_engine(model)

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        preprocess, net, found = self._engine.preprocess, self._engine.net, []
        for start in range(0, len(pixels), 256):
            part = np.stack([preprocess.pixels(Image.fromarray(one)) for one in pixels[start : start + 256]])
            values = torch.from_numpy(part).permute(0, 3, 1, 2)
            vectors = net.embed(normalise(values, preprocess, "cpu"))
            found.append((vectors, net.head.classifier(vectors)))
        vectors, logits = (torch.cat(parts).float().numpy() for parts in zip(*found, strict=True))
        return vectors, logits


def keep(path: Path, parts: dict[str, np.ndarray], labels: dict[str, np.ndarray], backbone: Backbone) -> None:
    arrays = {f"{name}_labels": array for name, array in labels.items()}
    for name, pixels in parts.items():
        arrays[name], arrays[f"{name}_logits"] = backbone(pixels)
    np.savez(path, **arrays)


def train_and_keep(folder: Path, minutes: int) -> None:
    pixels, labels = cifar("train")
    tests, truths = cifar("test")
    for out in LEFT_OUT:
        name = "cifar10-without-" + "-".join(map(str, out))
        if (folder / f"{name}.npz").exists():
            continue
        own = np.setdiff1d(np.arange(10), out)
        rows = {label: np.flatnonzero(labels == label) for label in own}
        train = np.concatenate([each[:TRAINING] for each in rows.values()])
        rest = np.concatenate([each[TRAINING:] for each in rows.values()])
        coded = np.searchsorted(own, labels)
        run = folder / name
        if not (run / "model.safetensors").exists():
            given = inceptory.from_arrays(pixels[train], coded[train], classes=[str(label) for label in own])
            variant = inceptory.Variant(width=0.5, image=64)
            inceptory.train(given, model=MODEL, variant=variant, out=run, recipe=inceptory.Recipe(time=f"{minutes}m"))
        random = np.random.default_rng(0)
        fitted, held = random.choice(train, FITTED, replace=False), random.choice(rest, HELD_OUT, replace=False)
        inside = np.isin(truths, own)
        parts = {"fit": pixels[fitted], "held": pixels[held], "test": tests[inside], "left out": tests[~inside]}
        told = {"fit": coded[fitted], "held": coded[held], "test": np.searchsorted(own, truths[inside])}
        keep(folder / f"{name}.npz", {**parts, "digits": digits()[0], "noise": noise()}, told, Backbone(run))
    transfer = folder / "digits-without-8-9.npz"
    if not transfer.exists():
        pixels, labels = digits()
        inside = np.flatnonzero(labels < 8)
        fitted, rest = train_test_split(inside, train_size=0.5, random_state=0, stratify=labels[inside])
        held, test = train_test_split(rest, train_size=0.5, random_state=0, stratify=labels[rest])
        parts = {"fit": pixels[fitted], "held": pixels[held], "test": pixels[test], "left out": pixels[labels > 7]}
        told = {"fit": labels[fitted], "held": labels[held], "test": labels[test]}
        run = folder / ("cifar10-without-" + "-".join(map(str, LEFT_OUT[0])))
        keep(transfer, {**parts, "cifar10": tests[:2_000], "noise": noise()}, told, Backbone(run))


def class_means(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.stack([vectors[labels == label].mean(0) for label in np.unique(labels)])


def nearest(points: np.ndarray, whitening: np.ndarray) -> Distance:
    """Squared distance to the nearest of some points, after a linear map."""
    nearby = NearestNeighbors(n_neighbors=1).fit(points @ whitening)
    return lambda vectors: nearby.kneighbors(vectors @ whitening)[0][:, 0] ** 2


def mahalanobis(vectors: np.ndarray, labels: np.ndarray) -> Distance:
    """Lee et al. 2018, the covariance shrunk by Ledoit and Wolf's rule."""
    means = class_means(vectors, labels)
    covariance, _ = ledoit_wolf(vectors - means[labels], assume_centered=True)
    return nearest(means, np.linalg.cholesky(np.linalg.inv(covariance)))


def relative(vectors: np.ndarray, labels: np.ndarray) -> Distance:
    """Ren et al. 2021: less the distance from all training vectors taken together."""
    own, background = mahalanobis(vectors, labels), mahalanobis(vectors, np.zeros_like(labels))
    return lambda given: own(given) - background(given)


def diagonal(vectors: np.ndarray, labels: np.ndarray) -> Distance:
    means = class_means(vectors, labels)
    return nearest(means, np.diag(1 / ((vectors - means[labels]).std(0) + 1e-6)))


def neighbours(most: int | None, k: int) -> Callable[[np.ndarray, np.ndarray], Distance]:
    """Sun et al. 2022, of all training vectors or of so many as take no more room than `Novelty`."""

    def fitted(vectors: np.ndarray, labels: np.ndarray) -> Distance:
        rows = np.random.default_rng(0).permutation(len(vectors))[:most]
        nearby = NearestNeighbors(n_neighbors=k).fit(vectors[rows])
        return lambda given: nearby.kneighbors(given)[0][:, -1]

    return fitted


def residual(axes: int) -> Callable[[np.ndarray, np.ndarray], Distance]:
    def fitted(vectors: np.ndarray, labels: np.ndarray) -> Distance:
        pca = PCA(axes, svd_solver="full").fit(vectors)
        return lambda given: np.linalg.norm(given - pca.inverse_transform(pca.transform(given)), axis=1)

    return fitted


def kinds(length: int) -> dict[str, Callable[[np.ndarray, np.ndarray], Distance]]:
    few = NUMBERS // length
    return {
        "nearest class mean, diagonal": diagonal,
        "Mahalanobis": mahalanobis,
        "relative Mahalanobis": relative,
        "10th neighbour of all": neighbours(None, 10),
        "nearest of all": neighbours(None, 1),
        f"nearest of {few}": neighbours(few, 1),
        **{f"residual of {axes} directions": residual(axes) for axes in (8, 16, 32, 128)},
    }


def largest_softmax(arrays: dict[str, np.ndarray], own_head: bool) -> Callable[[str], np.ndarray]:
    """The baseline: by the network's own logits, or by those of a head fitted on the vectors."""
    if own_head:
        return lambda part: -softmax(arrays[f"{part}_logits"], 1).max(1)
    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    head.fit(arrays["fit"], arrays["fit_labels"])
    return lambda part: -head.predict_proba(arrays[part]).max(1)


def auroc(like: np.ndarray, other: np.ndarray) -> float:
    return float(roc_auc_score(np.repeat([0, 1], [len(like), len(other)]), np.concatenate([like, other])))


def row(name: str, distance: Callable[[str], np.ndarray], others: list[str]) -> str:
    start, like = time.perf_counter(), distance("test")
    values = [auroc(like, distance(other)) for other in others]
    seconds = time.perf_counter() - start
    return f"| {name} | " + " | ".join(f"{value:.3f}" for value in (*values, np.mean(values))) + f" | {seconds:.1f} |"


def table(path: Path) -> None:
    with np.load(path) as file:
        arrays = {name: file[name].astype(np.float64) if name[-6:] != "labels" else file[name] for name in file.files}
    others = [name for name in arrays if f"{name}_logits" in arrays and name not in ("fit", "held", "test")]
    counts = ", ".join(f"{name} {len(arrays[name]):,}" for name in ("fit", "held", "test", *others))
    print(f"\n{path.stem}: vectors of {arrays['fit'].shape[1]} numbers; {counts}\n")
    own_head = not path.stem.startswith("digits")
    if own_head:
        print(f"test top-1 {(arrays['test_logits'].argmax(1) == arrays['test_labels']).mean():.3f}\n")
    print("| kind | " + " | ".join((*others, "mean")) + " | seconds |")
    print("|---|" + "---|" * (len(others) + 2))
    print(row("largest softmax", largest_softmax(arrays, own_head), others))
    for prefix, scaled in (("", np.asarray), ("length 1, ", normalize)):
        for name, kind in kinds(arrays["fit"].shape[1]).items():
            distance = kind(scaled(arrays["fit"]), arrays["fit_labels"])
            print(row(prefix + name, lambda part, d=distance, f=scaled: d(f(arrays[part])), others), flush=True)
    text = json.dumps(Novelty.of(arrays["fit"], arrays["held"]).to_json())
    kept = Novelty.from_json(json.loads(text))
    print(row("`Novelty`, through JSON", lambda part: kept.distances_of(arrays[part]), others))
    shares = {part: float((kept.p_values(arrays[part]) <= 0.05).mean()) for part in ("test", *others)}
    told = ", ".join(f"{part} {100 * share:.1f} %" for part, share in shares.items())
    print(f"\n{len(text) / 1024:.0f} KB of JSON; p-value at most 0.05: {told}")


def end_to_end(folder: Path) -> None:
    """A row for each head and kind of strange pictures: `train --from`, then `predict` with what it kept."""
    backbone = folder / ("cifar10-without-" + "-".join(map(str, LEFT_OUT[0])))
    (train, truths), (tests, test_truths), (small, numbers) = cifar("train"), cifar("test"), digits()
    fitted, like = train_test_split(np.flatnonzero(numbers < 8), train_size=0.5, random_state=0)
    unseen = [np.flatnonzero(truths == label)[TRAINING:] for label in range(10) if label not in LEFT_OUT[0]]
    rows = np.random.default_rng(0).permutation(np.concatenate(unseen))[:4_000]
    inside, mixed = ~np.isin(test_truths, LEFT_OUT[0]), np.random.default_rng(0).permutation(len(tests))[:2_000]
    coded = np.unique(truths[rows], return_inverse=True)[1]
    heads = {
        "digits 0 to 7": (
            (small[fitted], numbers[fitted]),
            {"test": small[like], "digits 8, 9": small[numbers > 7], "cifar10": tests[mixed], "noise": noise()},
        ),
        "cifar10 without cat, dog": (
            (train[rows], coded),
            {"test": tests[inside], "cat, dog": tests[~inside], "digits": small, "noise": noise()},
        ),
    }
    print(
        "| head on | pictures | n | marked | AUROC of the p-value | of the largest softmax |\n|---|---|---|---|---|---|"
    )
    for name, (data, kinds) in heads.items():
        with tempfile.TemporaryDirectory() as place:
            run = inceptory.train(data, backbone=backbone, out=Path(place, "run"), tensorboard=False)
            answers = {kind: predicted(run.folder, pixels, Path(place, kind)) for kind, pixels in kinds.items()}
        for kind, (p_values, sure, marks) in answers.items():
            areas = [f"{auroc(-answers['test'][i], -other):.3f}" for i, other in enumerate((p_values, sure))]
            told = " | ".join(areas if kind != "test" else ["", ""])
            print(f"| {name} | {kind} | {len(marks):,} | {100 * marks.mean():.1f} % | {told} |", flush=True)

    spread(backbone, train[rows], tests[inside])


def spread(backbone: Path, train: np.ndarray, test: np.ndarray) -> None:
    """How many test pictures are marked by 30 draws of the held-out ones, and of which arithmetic vectors are."""
    vectors = {
        (name, precision): inceptory.extract_features(
            backbone, inceptory.from_arrays({"train": pixels}, {"train": [0] * len(pixels)}), precision=precision
        ).vectors
        for name, pixels in (("train", train), ("test", test))
        for precision in ("bf16", "fp32")
    }
    for precision in ("bf16", "fp32"):
        shares = []
        for seed in range(30):
            order = np.random.default_rng(seed).permutation(len(train))
            kept = Novelty.of(*(vectors["train", "bf16"][some] for some in (order[:3_240], order[-360:])))
            shares.append(100 * kept.unlike(kept.p_values(vectors["test", precision])).mean())
        told = f"{np.mean(shares):.2f} % (deviation {np.std(shares):.2f}, {min(shares):.2f} to {max(shares):.2f})"
        print(f"trained in bf16, predicted in {precision}: {told} of {len(test):,} test pictures are marked")


def predicted(run: Path, pixels: np.ndarray, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(p-values, largest probabilities, marks) of pictures, which are written as files."""
    folder.mkdir()
    for number, one in enumerate(pixels):
        Image.fromarray(one).save(folder / f"{number:05}.png")
    found = [(one.p_value, one.probabilities[0], one.unlike) for one in inceptory.predict(run, folder, top=1)]
    p_values, sure, marks = map(np.asarray, zip(*found, strict=True))
    return p_values, sure, marks


def main() -> None:
    if sys.argv[2:] == ["end-to-end"]:
        end_to_end(Path(sys.argv[1]))
        return
    folder, minutes = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 16
    folder.mkdir(parents=True, exist_ok=True)
    train_and_keep(folder, minutes)
    for path in sorted(folder.glob("*.npz")):
        table(path)


if __name__ == "__main__":
    main()
