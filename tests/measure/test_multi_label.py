"""Pictures that show several classes, or none: from a table to a measured, comparable run."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss, precision_recall_fscore_support

import inceptory
from inceptory import Recipe, Variant
from inceptory.cli import main
from inceptory.data.check.check import cheap
from inceptory.data.sources.opening import open_source
from inceptory.engines.device import Device
from inceptory.errors import ConfigError, DataError, InterruptedRun
from inceptory.learn.pictures import Targets
from inceptory.learn.step import Stepper
from inceptory.measure.losses import BinaryCrossEntropy, CrossEntropy
from inceptory.measure.metrics import average_precision, wilson
from inceptory.measure.multi_label import MultiEpoch, MultiMetrics
from inceptory.measure.tasks import MULTI_LABEL, SINGLE_LABEL, task_of
from inceptory.weights.card import Card, read_card
from tests.learn.running import digests, start
from tests.learn.stopped import stopped_after
from tests.report.test_page import check_alone

HALVES = {"red": (210, 50, 40), "blue": (40, 60, 200), "green": (40, 180, 60), "": (128, 128, 128)}
COUNT = 96


def paint(path: Path, left: str, right: str, seed: int) -> None:
    """A noisy picture of two halves, 32 x 32."""
    pixels = np.random.default_rng(seed).integers(-25, 25, (32, 32, 3))
    pixels[:, :16] += HALVES[left]
    pixels[:, 16:] += HALVES[right]
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of pictures: left red, blue or grey, right green or grey; grey is no class."""
    root = tmp_path_factory.mktemp("halves")
    lines = ["path,label"]
    for i in range(COUNT):
        names = ("red", "blue", "")[i % 3], ("green", "")[i // 3 % 2]
        paint(root / f"{i}.png", *names, seed=i)
        lines.append(f"{i}.png,{'|'.join(filter(None, names))}")
    (root / "halves.csv").write_text("\n".join(lines) + "\n")
    return root / "halves.csv"


@pytest.fixture(scope="module")
def several(halves: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    out = tmp_path_factory.mktemp("runs") / "several"
    recipe = Recipe(epochs=16, batch=16, precision="fp32", flip="off", average=0.0)
    inceptory.train(str(halves), model="cifar_inception_v2", out=out, variant=Variant(width=0.25), recipe=recipe)
    return out


# Metrics and loss, against scikit-learn and by hand


def drawn(n: int = 200, classes: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits in which many are equal, and truths; the last class has no picture."""
    random = np.random.default_rng(seed)
    truths = random.random((n, classes)) < 0.3
    truths[:, -1] = False
    logits = np.round(random.normal(size=(n, classes)) + 1.2 * truths - 0.6, 1)
    return torch.from_numpy(logits), torch.from_numpy(truths.astype(np.uint8))


def measured(logits: torch.Tensor, labels: torch.Tensor) -> MultiMetrics:
    return MULTI_LABEL.measure(logits.numpy(), labels.numpy())


@pytest.mark.parametrize("seed", range(3))
def test_metrics_are_those_of_scikit_learn(seed):
    logits, labels = drawn(seed=seed)
    found, answers, present = measured(logits, labels), (logits > 0).numpy(), slice(0, -1)
    assert found.mean_ap == pytest.approx(average_precision_score(labels[:, present], logits[:, present]))
    assert found.micro_f1 == pytest.approx(f1_score(labels, answers, average="micro"))
    assert found.macro_f1 == pytest.approx(f1_score(labels[:, present], answers[:, present], average="macro"))
    assert found.exact == accuracy_score(labels, answers)
    assert found.interval == wilson(round(found.exact * 200), 200)
    each = [log_loss(labels[:, k], logits[:, k].sigmoid(), labels=[0, 1]) for k in range(6)]
    assert found.log_loss == pytest.approx(sum(each) / 6)


def test_each_class_is_measured_as_scikit_learn_does():
    logits, labels = drawn()
    found = MULTI_LABEL.details(logits.numpy(), labels.numpy(), "abcdef").classes
    expected = precision_recall_fscore_support(labels, (logits > 0).numpy(), average=None, zero_division=np.nan)
    for name, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        numbers = [math.nan if number is None else number for number in (getattr(one, name) for one in found)]
        assert numbers == pytest.approx(list(column), nan_ok=True), name
    for k in range(5):
        assert found[k].average_precision == pytest.approx(average_precision_score(labels[:, k], logits[:, k]))
        assert found[k].average_precision == pytest.approx(area(logits[:, k].numpy(), labels[:, k].numpy() > 0))
    assert found[5].average_precision is None


def area(scores: np.ndarray, truths: np.ndarray) -> float:
    """Precision times the step of recall, from the highest threshold to the lowest."""
    total = before = 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        answered = scores >= threshold
        recall = (answered & truths).sum() / truths.sum()
        total += (answered & truths).sum() / answered.sum() * (recall - before)
        before = recall
    return total


def test_average_precision_by_hand_and_of_equal_scores():
    truths = np.array([True, False, True, False])
    assert average_precision(np.array([4.0, 3.0, 2.0, 1.0]), truths) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.zeros(4), truths) == pytest.approx(0.5), "equal scores pass together"


def test_where_nothing_is_to_be_found_nothing_is_divided_by_zero():
    found = measured(torch.full((3, 2), -1.0), torch.zeros(3, 2, dtype=torch.uint8))
    assert (found.mean_ap, found.micro_f1, found.macro_f1, found.exact) == (0, 0, 0, 1)


def test_metrics_that_are_no_numbers_survive_json():
    found = measured(torch.full((2, 2), math.nan), torch.ones(2, 2, dtype=torch.uint8))
    plain = {**found.to_json(), "log_loss": None}
    assert math.isnan(found.log_loss)
    assert "log-loss nan, n 2" in str(MultiMetrics.from_json(plain))


def test_a_single_class_is_measured_like_any_other():
    logits, labels = drawn(50, 3)
    alone = MULTI_LABEL.details(logits[:, :1].numpy(), labels[:, :1].numpy(), "a").classes
    assert alone == MULTI_LABEL.details(logits.numpy(), labels.numpy(), "abc").classes[:1]
    assert measured(logits[:, :1], labels[:, :1]).micro_f1 == pytest.approx(alone[0].f1)


@pytest.mark.parametrize("far", [math.inf, -math.inf])
def test_infinite_logits_cost_no_warning(far):
    logits, labels = drawn(20, 3)
    logits[:5] = far
    logits[5:8] = math.nan
    assert math.isnan(measured(logits, labels).log_loss)


def test_the_loss_is_the_mean_over_the_classes_of_each_picture():
    logits, labels = drawn(5, 3)
    expected = [
        -sum(math.log(p) if y else math.log(1 - p) for p, y in zip(row, truth, strict=True)) / 3
        for row, truth in zip(logits.sigmoid().tolist(), labels.tolist(), strict=True)
    ]
    assert BinaryCrossEntropy().loss(logits, labels, None, 0.0).tolist() == pytest.approx(expected)


def test_smoothing_moves_every_target_towards_a_half():
    logits, labels = drawn(5, 3)
    expected = F.binary_cross_entropy_with_logits(logits, 0.8 * labels.double() + 0.1, reduction="none").mean(1)
    torch.testing.assert_close(BinaryCrossEntropy().loss(logits, labels, None, 0.2), expected)
    assert BinaryCrossEntropy().loss(torch.zeros(1, 3).double(), labels[:1], None, 0.2).item() == pytest.approx(
        math.log(2)
    )


def test_class_weights_give_both_sides_of_a_class_the_same_weight():
    labels = torch.tensor([[1, 1], [0, 1], [0, 0], [0, 1]], dtype=torch.uint8)
    weights = BinaryCrossEntropy().class_weights(labels, 2)
    assert weights.tolist() == pytest.approx([3, 1 / 3])
    # At probability 0.5 a class loses as much by its pictures as by the others.
    each = BinaryCrossEntropy().loss(torch.zeros(4, 2), labels, weights, 0.0) * 2 / math.log(2)
    assert each.sum().item() == pytest.approx(2 * 3 + 2 * 1)


def test_a_picture_is_a_hit_when_all_of_it_is_right():
    labels = torch.tensor([[1, 0], [0, 0], [1, 1]], dtype=torch.uint8)
    logits = torch.tensor([[2.0, -1.0], [-0.1, -3.0], [1.0, 0.0]])
    assert int(BinaryCrossEntropy().hits(logits, labels)) == 2, "a logit of 0 is no answer"


def test_each_task_has_its_own_loss():
    assert task_of(True) is MULTI_LABEL
    assert task_of(False) is SINGLE_LABEL
    assert isinstance(MULTI_LABEL.criterion(), BinaryCrossEntropy)
    assert isinstance(SINGLE_LABEL.criterion(), CrossEntropy)


# A run


def test_a_run_learns_every_half_and_says_so(several, halves):
    found = json.loads((several / "metrics.json").read_text())
    assert found["mean_ap"] > 0.97
    assert found["exact"] > 0.7
    assert found["n"] == len(open_source(halves).with_validation(0.1).split("validation"))
    assert {one["label"] for one in found["classes"]} == {"red", "blue", "green"}
    assert min(one["average_precision"] for one in found["classes"]) > 0.95
    assert "top1" not in found
    assert "confusion" not in found
    assert sorted(path.name for path in several.glob("*.png")) == ["curves.png", "first-batch.png"]


def test_history_and_card_are_multi_label_and_the_best_epoch_is_that_of_the_highest_map(several):
    run = inceptory.train(resume=several)
    assert isinstance(run.metrics, MultiMetrics)
    assert all(isinstance(row, MultiEpoch) for row in run.epochs)
    best = max(run.epochs, key=lambda row: (row.validation_map, -row.validation_log_loss))
    card = read_card(several / "model.safetensors")
    assert card.multi_label
    assert card.metrics["epoch"] == best.epoch
    assert card.metrics["mean_ap"] == pytest.approx(best.validation_map, abs=1e-6)
    with open(several / "history.csv", newline="") as file:
        assert {"train_exact", "validation_exact", "validation_map"} < set(next(csv.DictReader(file)))


def test_evaluate_measures_what_the_run_measured(several, halves, tmp_path):
    found = inceptory.evaluate(several, str(halves), out=tmp_path / "m.json", precision="fp32")
    first = json.loads((several / "metrics.json").read_text())
    assert found.mean_ap == pytest.approx(first["mean_ap"])
    assert (found.exact, found.n) == (first["exact"], first["n"])
    assert json.loads((tmp_path / "m.json").read_text())["classes"] == first["classes"]


def test_evaluate_puts_the_columns_into_the_order_of_the_checkpoint(several, halves):
    for name in ("blue", "red"):
        paint(halves.parent / f"only-{name}.png", name, "", seed=1000)
    # Classes "blue" and "red" only, one each: a set of one for a multi-label checkpoint.
    table = halves.parent / "single.csv"
    table.write_text("only-blue.png,blue\nonly-red.png,red\n")
    found = inceptory.evaluate(several, str(table), split="train", precision="fp32")
    assert (found.n, found.exact) == (2, 1.0)


def test_the_page_tells_classes_one_by_one(several):
    words = " ".join(" ".join(check_alone((several / "report.html").read_text(encoding="utf-8")).words).split())
    for fact in ("say which of 3 classes, or none, there are in", "mean average precision", "average precision", "red"):
        assert fact in words
    for strange in ("top-1", "Mistakes", "Confusion", "Calibration"):
        assert strange not in words


def test_predict_names_every_class_above_a_half_best_first(several, halves):
    pictures = [halves.parent / f"{i}.png" for i in (0, 1, 5)]  # red|green, blue|green, none
    found = inceptory.predict(several, *pictures)
    assert [set(one.labels) for one in found] == [{"red", "green"}, {"blue", "green"}, set()]
    assert all(list(one.probabilities) == sorted(one.probabilities, reverse=True) for one in found)
    assert all(p > 0.5 for one in found for p in one.probabilities)
    assert sum(found.found[0].probabilities) > 1, "each class has a probability of its own"
    assert str(found.found[2]).endswith("5.png: none of the classes")
    assert [len(one.labels) for one in inceptory.predict(several, *pictures, top=1)] == [1, 1, 0]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_answers_of_none_can_be_written(several, halves, tmp_path, ending):
    out = tmp_path / f"out{ending}"
    inceptory.predict(several, halves.parent / "5.png", out=out)
    if ending == ".csv":
        assert out.read_text() == "picture,rank,label,probability\n"
    elif ending == ".jsonl":
        assert json.loads(out.read_text())["labels"] == []
    else:
        import pyarrow.parquet as pq

        assert pq.read_table(out).num_rows == 0
        assert pq.read_table(out).column_names == ["picture", "rank", "label", "probability"]


def test_runs_compare_with_their_kind_only(several, run, tmp_path):
    found = inceptory.compare(several, several, out=tmp_path)
    head, *rows = found.cells()
    assert "exact, %" in head
    assert head[-1] == "mAP, %"
    metrics = json.loads((several / "metrics.json").read_text())
    assert rows[0][-1] == f"{100 * metrics['mean_ap']:.2f}"
    assert found.to_json()["runs"][0]["exact"] == metrics["exact"]
    check_alone((tmp_path / "compare.html").read_text(encoding="utf-8"))
    with pytest.raises(ConfigError, match=r"is single-label, \S+ is multi-label"):
        inceptory.compare(several, run)


# What does not go together


def test_balance_is_refused_in_one_line(halves, tmp_path, capsys):
    told = ["train", str(halves), "--model", "cifar_inception_v3", "--out", str(tmp_path / "x"), "--balanced"]
    assert main(told) == 78
    assert "--balanced: " in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "x").exists()


def test_a_checkpoint_of_one_class_is_not_measured_on_several(run, halves, tmp_path):
    for seed, name in enumerate(("blue", "red")):
        paint(tmp_path / f"{name}.png", name, name, seed)
    (tmp_path / "t.csv").write_text("blue.png,blue|red\nred.png,red\n")
    with pytest.raises(ConfigError, match="shows several classes a picture"):
        inceptory.evaluate(run, str(tmp_path / "t.csv"), split="train")


def test_a_card_of_one_class_says_nothing_of_it_so_that_old_and_new_versions_read_it(run):
    card = read_card(run / "model.safetensors")
    assert not card.multi_label
    plain = json.loads(card.to_json())
    assert "multi_label" not in plain
    assert Card.from_json(json.dumps({**plain, "multi_label": True}), "x").multi_label
    with pytest.raises(DataError, match=r"its card is damaged, .*multi_label"):
        Card.from_json(json.dumps({**plain, "multi_label": "yes"}), "x")


# Exactness

CHANGES = {
    "mixup": {},
    "cutmix, class weights, smoothing": {"cutmix": 1.0, "class_weights": True, "label_smoothing": 0.2},
    "tutorial's step": {"momentum_rule": "keras", "penalty": 1e-4, "average": 0.0, "moving_variance": "biased"},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    CHANGES.values(),
    ids=CHANGES,
)
def test_a_stopped_run_goes_on_bit_for_bit(changed, halves, tmp_path, monkeypatch):
    start(halves, tmp_path / "whole", **changed)
    with monkeypatch.context() as patched:
        stopped_after(8, patched)
        with pytest.raises(InterruptedRun):
            start(halves, tmp_path / "run", **changed)
    inceptory.train(resume=tmp_path / "run")
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")


def test_what_is_said_before_training(halves):
    lines = cheap(open_source(halves))
    assert lines[0] == "3 classes of 32 to 48 training pictures"
    assert lines[1] == 'labels are joined by "|", so that a picture may show several classes'
    assert lines[2] == "multi-label: 1.2 classes a picture, none in 16"


def test_a_step_sums_all_heads_and_both_pictures_of_a_mixture_by_their_weights():
    torch.manual_seed(0)
    net = inceptory.create("inception_v3", width=0.25, classes=3, image=79, aux=True)
    values, share = torch.randn(4, 3, 79, 79), torch.tensor([1.0, 0.7, 0.5, 0.0])
    labels, others = torch.tensor([[[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 1]] * 4], dtype=torch.uint8)
    weights = {"logits": 1.0, **{aux.name: aux.weight for aux in net.plan.tree.aux}}
    assert len(weights) == 2
    heads = {name: torch.randn(4, 3, requires_grad=True) for name in weights}
    recipe = Recipe(label_smoothing=0.1)
    stepper = Stepper(net, recipe, Device("cpu"), heads=lambda _: heads, task=MULTI_LABEL)
    found = stepper.step(0, 0.0, [(values, Targets(labels, others, share))])

    def cost(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        targets = 0.9 * truth + 0.05
        p = logits.sigmoid()
        return -(targets * p.log() + (1 - targets) * (1 - p).log()).mean(1)

    both = {name: share * cost(heads[name], labels) + (1 - share) * cost(heads[name], others) for name in weights}
    expected = sum(weight * float(both[name].detach().sum()) for name, weight in weights.items())
    assert found.losses == pytest.approx(expected, rel=1e-5)
    assert found.seen == 4
