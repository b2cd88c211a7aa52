"""TorchScript archives as data: tensors by their paths, and no line of code is run."""

from __future__ import annotations

import io
import warnings

import pytest
import torch

from tests.weights.files.hostile import CALLS, styles
from tests.weights.files.makers import fault_of, mapping, opened, packed, text
from tests.weights.files.test_honest_torch import assert_same


class Unit(torch.nn.Module):
    """A convolution with a norm that has no gamma, and attributes of other kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, bias=False)
        self.bn = torch.nn.BatchNorm2d(4)
        self.bn.weight = None
        self.sizes = [1, 2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x))


def script(module: torch.nn.Module) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module.eval()), file)
    return file.getvalue()


def test_the_tensors_of_a_program_are_those_of_its_state_dict(tmp_path):
    module = torch.nn.Sequential(Unit(), torch.nn.Sequential(Unit(), torch.nn.Linear(4, 2)))
    weights = opened(tmp_path, script(module))
    assert_same(weights, module.state_dict())
    assert weights.remarks == ("the tensors of a TorchScript program, whose code is not looked at",)


def test_a_name_that_is_no_class_of_the_program_is_refused(tmp_path):
    for name in CALLS:
        for style, value in styles(name, "touch canary").items():
            body = b"\x80\x02c__torch__\nNet\n)\x81}" + text("weight") + value + b"sb."
            told = str(fault_of(tmp_path, packed(("a/data.pkl", body), ("a/constants.pkl", b""))))
            assert f"it names {name} (" in told, style
    assert not (tmp_path / "canary").exists()


NESTED = b"c__torch__\nN\n)\x81"
HOSTILE = {
    "in itself": NESTED + b"q\0}" + text("a") + b"h\0sb",
    "in each other": NESTED + b"q\0" + b"".join(
        NESTED + b"}(" + text("a") + b"h" + bytes([i]) + text("b") + b"h" + bytes([i]) + b"ubq" + bytes([i + 1])
        for i in range(30)
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_modules_without_end_are_refused(kind, tmp_path):
    body = b"\x80\x02" + (HOSTILE[kind] if kind == "in itself" else b"(" + HOSTILE[kind] + b"1h\x1e") + b"."
    content = packed(("a/data.pkl", body), ("a/constants.pkl", b""))
    assert "nested without end" in str(fault_of(tmp_path, content))


def test_a_program_s_class_in_a_file_that_is_none_is_refused(tmp_path):
    body = mapping(weight=b"c__torch__\nNet\n)\x81")
    assert "it names __torch__.Net (" in str(fault_of(tmp_path, packed(("a/data.pkl", body))))
