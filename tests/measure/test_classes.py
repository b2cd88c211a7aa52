"""Classes of data found in a checkpoint, never a wrong one; and which pictures of the data are measured."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import inceptory
from inceptory.data import imagenet
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.opening import open_source
from inceptory.errors import ConfigError, DataError
from inceptory.measure.classes import matched
from inceptory.measure.tasks import SINGLE_LABEL
from inceptory.nets.catalogue import plan
from inceptory.run.evaluate import measured, relabelled
from inceptory.weights.card import Card

IMAGENET = Card.of(plan("inception_v3"), labels=imagenet.labels())
TRAINED = {"epochs": 3}
"""The recipe of a checkpoint that was trained here."""


def card(*labels, **known):
    return Card.of(plan("cifar_inception_v1", classes=len(labels), width=0.25), labels=labels, **known)


def refused(*names, of=IMAGENET):
    with pytest.raises(ConfigError) as caught:
        matched("photos", names, of)
    return str(caught.value)


def classes(*names, of=IMAGENET):
    return matched("photos", names, of).order.tolist()


def test_all_synsets_in_any_order_are_found():
    names = list(np.random.default_rng(0).permutation(imagenet.synsets()))
    found = matched("val", names, IMAGENET)
    assert [imagenet.synsets()[place] for place in found.order] == names
    assert str(found) == "matched 1,000 classes by synset"


def test_ten_of_the_thousand_are_told_as_such():
    some = ("n01440764", "n02102040", "n02979186", "n03000684", "n03028079", "n03394916", "n03417042", "n03425413")
    found = matched("imagenette", some, IMAGENET)
    assert found.order.tolist() == [0, 217, 482, 491, 497, 566, 569, 571]
    assert str(found) == "matched 8 classes by synset, of 1,000 that the checkpoint answers"


def test_our_own_names_are_found_all_of_them_and_the_shared_ones_too():
    found = matched("photos", imagenet.labels(), IMAGENET)
    assert found.order.tolist() == list(range(1000))
    assert str(found) == "matched 1,000 classes by name"


def test_the_full_lists_of_words_are_found():
    names = [", ".join(words) for words in imagenet.words()]
    names[517] = "crane (machine)"  # both cranes have that one word
    found = matched("photos", names, IMAGENET)
    assert found.order.tolist() == list(range(1000))
    assert found.ways.count("word") == 493


def test_other_spellings_and_words_are_found():
    assert classes("great_white_shark", "Tinca tinca", "blue jean", "GOLDFISH") == [2, 0, 608, 1]
    told = str(matched("p", ["Tinca tinca", "GOLDFISH"], IMAGENET))
    assert told.startswith("matched 1 class by name, 1 by another word of WordNet's")


def test_the_own_name_of_a_class_is_no_other_word_however_it_is_written():
    assert matched("p", ["great_white_shark", "Tench", "tiger shark"], IMAGENET).ways == ("name",) * 3
    own = card("sweet_pepper", "cat", recipe=TRAINED, aliases={"sweet_pepper": ("CAT",)})
    for names in (["cat", "sweet_pepper"], ["Cat", "Sweet pepper"]):
        found = matched("p", names, own)
        assert (found.order.tolist(), str(found)) == ([1, 0], "matched 2 classes by name")


def test_of_names_that_differ_in_case_only_each_is_itself_and_any_other_may_be_both():
    own = card("cat", "Cat", "dog", recipe=TRAINED)
    assert classes("Cat", "cat", of=own) == [1, 0]
    assert "its class 'CAT' may be 'cat' or 'Cat' (name it cat or Cat)" in refused("CAT", "dog", of=own)
    assert classes("CAT", "cat", of=own) == [1, 0]


def test_the_usual_word_of_one_class_is_not_a_rarer_one_of_another():
    assert imagenet.words()[744] == ("projectile", "missile")
    assert classes("missile", "projectile") == [657, 744]
    assert "may be 'spiny lobster' or 'crayfish'" in refused("crawfish", "tench")


@pytest.mark.parametrize(
    ("name", "may_be", "synsets"),
    [
        ("crane", "'crane (bird)' or 'crane (machine)'", "n02012849 or n03126707"),
        ("maillot", "'maillot' or 'tank suit'", "n03710637 or n03710721"),
        ("cardigan", "'Cardigan Welsh corgi' or 'cardigan'", "n02113186 or n02963159"),
        ("Cardigan", "'Cardigan Welsh corgi' or 'cardigan'", "n02113186 or n02963159"),
    ],
)
def test_a_name_that_two_classes_share_is_refused(name, may_be, synsets):
    assert refused(name, "tench") == f"photos: its class {name!r} may be {may_be} (name it {synsets})"


def test_a_shared_name_counts_where_the_other_class_is_named_otherwise():
    assert classes("crane", "crane (machine)") == [134, 517]
    assert classes("crane", "n02012849") == [517, 134]
    assert classes("maillot", "maillot, tank suit") == [638, 639]
    assert classes("cardigan", "Cardigan Welsh corgi") == [474, 264]


def test_a_checkpoint_that_was_trained_here_knows_what_its_names_mean():
    own = card("maillot", "tank suit", "zebra", recipe=TRAINED)
    assert classes("maillot", "zebra", of=own) == [0, 2]
    assert "may be" in refused("maillot", "zebra", of=replace(own, recipe={}))


def test_a_checkpoint_trained_on_synsets_is_found_by_words_too():
    own = card("n01440764", "n02391049", recipe=TRAINED)
    assert classes("zebra", "tench", of=own) == [1, 0]
    assert str(matched("p", ["n02391049"], own)) == "matched 1 class by name, of 2 that the checkpoint answers"


def test_the_words_of_imagenet_say_nothing_of_classes_that_are_not_all_its_own():
    own = card("mouse", "keyboard of a piano", recipe=TRAINED)
    assert "unknown to the checkpoint: 'n03793489'" in refused("n03793489", of=own)


def test_aliases_of_the_card_are_found_and_may_join_classes():
    own = card("dog", "cat", recipe=TRAINED, aliases={"dog": ("beagle", "n02110185"), "cat": ("tabby",)})
    found = matched("photos", ["tabby", "beagle", "n02110185"], own)
    assert found.order.tolist() == [1, 0, 0]
    assert str(found) == "matched 3 classes by alias"


def test_two_classes_that_would_be_one_are_refused():
    assert "'n01440764' and 'tench' are both the checkpoint's 'tench'" in refused("n01440764", "tench")


def test_unknown_classes_are_named():
    assert refused("tench", "dragon", "n99999999").startswith(
        "photos: 2 of its classes are unknown to the checkpoint: 'dragon', 'n99999999'"
        " (rename them as the checkpoint does, or add aliases to its card)"
    )


# The card


def test_aliases_are_kept_by_the_card_and_cards_without_them_read_on():
    own = card("dog", "cat", aliases={"dog": ("beagle",)})
    assert Card.from_json(own.to_json(), "a").aliases == {"dog": ("beagle",)}
    without = card("dog", "cat")
    assert "aliases" not in json.loads(without.to_json())
    assert Card.from_json(without.to_json(), "a") == without


@pytest.mark.parametrize("aliases", [["dog"], {"dog": "beagle"}, {"dog": [1]}, {"cow": ["ox"]}])
def test_aliases_of_another_kind_are_a_damaged_card(aliases):
    plain = {**json.loads(card("dog", "cat").to_json()), "aliases": aliases}
    with pytest.raises(DataError, match=r"its card is damaged, .*alias"):
        Card.from_json(json.dumps(plain), "a")


# Whole evaluations

SOME = {"n01440764": 0, "n02391049": 340, "n04612504": 914}
"""Synset and number of three classes."""


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A network of ImageNet's thousand classes that was not trained here."""
    torch.manual_seed(0)
    net = inceptory.create("cifar_inception_v1", width=0.25)
    net.reset_classifier(1000)
    steps = Preprocess(size=32, resize=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    path = tmp_path_factory.mktemp("published") / "thousand.safetensors"
    inceptory.save(net, path, Card.of(net.plan, labels=imagenet.labels(), preprocess=steps))
    return path


def fill(folder, names, each=4):
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            seed = [*map(ord, name), number]
            pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def by_hand(path, folder, names):
    """Metrics of the network on these folders, without any code that is tested here."""
    net = inceptory.load(path)
    rows, truth = [], []
    for name, number in names.items():
        for file in sorted((folder / name).iterdir()):
            pixels = torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1)
            rows.append((pixels.float() / 255 - 0.5) / 0.25)
            truth.append(number)
    with torch.inference_mode():
        return SINGLE_LABEL.measure(net(torch.stack(rows)).numpy(), np.array(truth))


def test_class_folders_by_synset_are_measured_whole_against_all_outputs(published, tmp_path, capsys):
    folder = fill(tmp_path / "val", SOME)
    found = inceptory.evaluate(published, str(folder), precision="fp32", out=tmp_path / "m.json")
    expected = by_hand(published, folder, SOME)
    assert found.n == expected.n == 12
    assert found.log_loss == pytest.approx(expected.log_loss, rel=1e-5)
    assert found.log_loss > 5, "of a thousand outputs, not of three"
    assert capsys.readouterr().err.splitlines()[:2] == [
        "matched 3 classes by synset, of 1,000 that the checkpoint answers",
        f"measuring all 12 pictures of {folder}, which has no validation or test split",
    ]
    assert json.loads((tmp_path / "m.json").read_text())["split"] == "all"


def test_a_folder_that_holds_val_alone_is_measured_on_it(published, tmp_path, capsys):
    fill(tmp_path / "imagenet" / "val", SOME)
    found = inceptory.evaluate(published, str(tmp_path / "imagenet"), precision="fp32")
    assert found.n == 12
    assert "measuring 12 pictures of" in capsys.readouterr().err
    assert list(open_source(tmp_path / "imagenet").splits) == ["validation"]


def test_beside_class_folders_val_is_a_class(tmp_path):
    fill(tmp_path / "photos", ["cat", "val"])
    assert open_source(tmp_path / "photos").classes == ("cat", "val")


def chosen(folder, of, split=None):
    source, name, told = measured(open_source(folder), of, split)
    return len(source.split(name)), name, told


def test_on_the_data_that_it_was_trained_on_a_checkpoint_is_measured_on_what_it_has_not_seen(tmp_path):
    folder = fill(tmp_path / "photos", ["cat", "dog"], 10)
    print_of = open_source(folder).with_validation(0.2).fingerprint()
    own = card("cat", "dog", recipe={"validation": 0.2}, data={"name": str(folder), "fingerprint": print_of})
    assert chosen(folder, own)[:2] == (4, "validation")
    assert "those held out when the checkpoint was trained on it" in chosen(folder, own)[2]
    elsewhere = folder.rename(tmp_path / "moved")
    assert chosen(elsewhere, own)[:2] == (4, "validation"), "the pictures decide, not their place"
    assert chosen(elsewhere, own, "train")[:2] == (16, "train")
    strange = replace(own, data={**own.data, "fingerprint": "other"})
    count, name, told = chosen(elsewhere, strange)
    assert (count, name) == (20, "train")
    assert told == f"measuring all 20 pictures of {elsewhere}, which has no validation or test split"


def test_data_that_changed_since_the_training_is_measured_whole_and_that_is_said(tmp_path):
    folder = fill(tmp_path / "photos", ["cat", "dog"], 10)
    own = card("cat", "dog", recipe=TRAINED, data={"name": str(folder), "fingerprint": "of before"})
    count, _, told = chosen(folder, own)
    assert count == 20
    assert "it has changed since the checkpoint was trained on it, which may have seen some of them" in told


def test_named_splits_are_measured_as_named(tmp_path):
    folder = tmp_path / "photos"
    for split, each in (("train", 6), ("val", 3), ("test", 2)):
        fill(folder / split, ["cat", "dog"], each)
    own = card("cat", "dog")
    assert chosen(folder, own)[:2] == (4, "test")
    assert chosen(folder, own, "validation")[:2] == (6, "validation")
    assert chosen(folder, own)[2] == f"measuring 4 pictures of {folder}, its test split"


def test_one_class_of_many_can_be_measured(tmp_path):
    folder = fill(tmp_path / "photos", ["dog"], 3)
    source = open_source(folder)
    own = card("cat", "dog", recipe=TRAINED)
    assert chosen(folder, own)[:2] == (3, "train")
    found = matched("photos", source.classes, own)
    assert relabelled(source, own, "train", found).tolist() == [1, 1, 1]
    assert str(found) == "matched 1 class by name, of 2 that the checkpoint answers"


def test_a_split_that_is_not_there_is_named(tmp_path):
    folder = fill(tmp_path / "photos", ["cat", "dog"])
    with pytest.raises(ConfigError, match="has no split 'test'"):
        chosen(folder, card("cat", "dog"), "test")


def test_classes_that_are_one_of_a_multi_label_checkpoint_count_together(tmp_path):
    folder = fill(tmp_path / "photos", ["beagle", "poodle", "cat"], 1)
    own = card("cat", "dog", multi_label=True, aliases={"dog": ("beagle", "poodle")})
    source = open_source(folder)
    labels = relabelled(source, own, "train", matched("photos", source.classes, own))
    assert labels.tolist() == [[0, 1], [1, 0], [0, 1]]
