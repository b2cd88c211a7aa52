"""What the page says of a run is what the card says."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import inceptory
from inceptory import Card
from inceptory.data.picture.preprocess import Preprocess
from inceptory.measure.multi_label import MultiDetails, MultiEpoch, MultiMetrics, MultiScore
from inceptory.measure.results import ClassScore, Ending, Mistake
from inceptory.measure.single_label import Bin, SingleDetails, SingleEpoch, SingleMetrics
from inceptory.measure.tasks import MULTI_LABEL, SINGLE_LABEL
from inceptory.report.story import Story
from tests.report.test_page import EVIL, check_alone, drawn, headings

PLAN = inceptory.plan("cifar_inception_v2", classes=2, width=0.5, in_channels=1, se=True)
CARD = Card.of(
    PLAN,
    labels=("cat", "<i>dog</i>"),
    preprocess=Preprocess(size=32, mean=(0.5,), std=(0.5,), order="L"),
    recipe={
        "epochs": 3,
        "time": None,
        "drops": [],
        "nesterov": True,
        "batch": 64,
        "lr": 0.05,
        "computed_on": "cuda bf16",
    },
    data={"name": "pets", "splits": {"train": 1234, "validation": 100, "test": 10}, "fingerprint": "abc123"},
    versions={"inceptory": "9.9", "torch": "8.8"},
)
EPOCHS = [SingleEpoch(i, 0.1, 1.2, 1.0, 0.5, 1.0, 0.5 + 0.1 * (i == 2), 2.0, 100.0) for i in (1, 2, 3)]
PLOTS = {name: drawn() for name in ("curves", "confusion", "calibration")}


@pytest.fixture
def story() -> Story:
    confusion = np.array([[4, 1], [2, 3]])
    scores = (ClassScore("cat", 4 / 6, 0.8, 8 / 11, 5), ClassScore("<i>dog</i>", 0.75, 0.6, 2 / 3, 5))
    details = SingleDetails(scores, confusion, (Bin(0.0, 1.0, 10, 0.9, 0.7),))
    pixels = np.zeros((32, 32, 1), np.uint8)
    mistakes = [Mistake("/photos/<b>.png", "<i>dog</i>", "cat", 0.987, 0.013, pixels)]
    return Story(
        task=SINGLE_LABEL,
        card=CARD,
        plan=PLAN,
        epochs=EPOCHS,
        metrics=SingleMetrics(0.7, 1.0, 0.6543, 10, (0.3968, 0.8922)),
        details=details,
        mistakes=mistakes,
        split="test",
        minutes=3.2,
        ending=Ending("epochs", 60, 20),
        images_per_second=1234.5,
        file_bytes=3 * 2**20,
        command="inceptory train pets --model cifar_inception_v2 --out 'runs/<b>'",
    )


def test_the_paragraph_tells_network_data_recipe_choice_machine_and_time(story: Story):
    told = story.paragraph()
    for fact in (
        "cifar_inception_v2 (keras dialect, width 0.5, squeeze and excitation)",
        f"{PLAN.numbers()['parameters']:,} learnable parameters",
        "2 classes apart in grey pictures of 32 x 32 pixels",
        "the 1,234 training pictures of pets for 3 epochs (batches of 64, a peak learning rate of 0.05)",
        "100 validation and 10 test pictures were kept apart",
        "The best epoch on validation, number 2, was kept and measured on the 10 test pictures",
        "took 3 minutes on cuda bf16 (measured in fp32), at 1,234 training pictures a second",
    ):
        assert fact in told


def test_a_figure_of_validation_is_said_to_be_too_good(story: Story):
    assert "too good" in replace(story, split="validation").paragraph()
    assert "too good" not in story.paragraph()


def test_a_card_that_knows_little_makes_shorter_sentences(story: Story):
    bare = replace(story, card=Card.of(PLAN, labels=CARD.labels), epochs=EPOCHS[:1], ending=Ending("epochs", 20, 20))
    assert "It saw the training pictures of the data for 1 epoch. The best" in bare.paragraph()
    check_alone(bare.html(PLOTS))


def test_the_page_shows_every_number_and_runs_nothing(story: Story):
    found = check_alone(story.html(PLOTS))
    words = " ".join(" ".join(found.words).split())
    for fact in (
        "70.00 %",
        "95 % interval 39.68 to 89.22, n 10",
        "0.6543",
        "20.0 %",
        "3.0 MiB",
        "<i>dog</i> 5 75.0 % 60.0 % 66.7 %",
        "<i>dog</i> cat 2",
        "1 of 3 wrong answers",
        "answer cat (98.7 %) truth <i>dog</i> (1.3 %) <b>.png",
        "--out 'runs/<b>'",
        "abc123",
        "torch 8.8",
    ):
        assert fact in words, fact
    assert sum(tag == "img" for tag, _ in found.elements) == 4


def test_a_faultless_run_says_so(story: Story):
    scores = tuple(ClassScore(name, 1.0, 1.0, 1.0, 5) for name in CARD.labels)
    perfect = replace(
        story, mistakes=(), details=replace(story.details, classes=scores, confusion=5 * np.eye(2, dtype=int))
    )
    text = perfect.html(PLOTS)
    assert "None in 10 pictures." in text
    assert "No picture was confused with another class." in text


def test_a_class_that_the_drawing_names_by_number_is_explained(story: Story):
    odd = replace(story, card=replace(story.card, labels=("cat", "\U0001f9ff")))
    assert "In the drawing: class 1 is \U0001f9ff." in odd.html(PLOTS)
    assert "In the drawing" not in story.html(PLOTS)


def test_the_recipe_is_told_in_the_words_of_the_help(story: Story):
    told = story.html(PLOTS)
    assert not re.search(r"<td>(None|True|\[\])</td>", told)
    for name, word in (("time", "none"), ("drops", "none"), ("nesterov", "yes"), ("lr", "0.05")):
        assert f"<td>{name}</td><td>{word}</td>" in told


AGAIN = ["Reproduce this run", "Recipe", "Data and versions"]


def test_the_sections_are_those_of_the_task(story: Story):
    answers = ["Confusion matrix", "Metrics of each class", "Most confident mistakes", "Calibration"]
    assert headings(story.html(PLOTS)) == ["Curves", *answers, *AGAIN]
    assert headings(story.html({**PLOTS, "batch": drawn()})) == ["Curves", *answers, "The first batch", *AGAIN]
    several = replace(
        story,
        task=MULTI_LABEL,
        epochs=[MultiEpoch(1, 0.1, 1.2, 1.0, 0.5, 1.0, 0.5, 0.6, 2.0, 100.0)],
        metrics=MultiMetrics(0.5, 0.6, 0.7, 0.3, 0.65, 10, (0.2, 0.4)),
        details=MultiDetails((MultiScore("cat", None, 0.5, 0.25, 5, 0.75), MultiScore("dog", 0.1, 1.0, 0.2, 5, None))),
        mistakes=[],
    )
    text = several.html({"curves": drawn()})
    assert headings(text) == ["Curves", "Metrics of each class", *AGAIN]
    words = " ".join(" ".join(check_alone(text).words).split())
    assert "cat 5 75.0 % - 50.0 % 25.0 %" in words
    assert "test mean average precision" in words


def test_no_text_of_the_data_becomes_an_element(story: Story):
    card = replace(
        story.card,
        labels=("cat", EVIL),
        recipe={EVIL: EVIL},
        data={"name": EVIL, "fingerprint": EVIL},
        versions={EVIL: EVIL},
    )
    scores = tuple(replace(score, label=label) for score, label in zip(story.details.classes, card.labels, strict=True))
    mistake = replace(story.mistakes[0], name=EVIL, truth=EVIL, answer=EVIL)
    evil = replace(story, card=card, command=EVIL, mistakes=[mistake], details=replace(story.details, classes=scores))
    found = check_alone(evil.html(PLOTS))
    assert sum("<script>alert(1)</script>" in words for words in found.words) >= 12
    assert not any("1337" in words for words in found.words), "no template is read from the data"
