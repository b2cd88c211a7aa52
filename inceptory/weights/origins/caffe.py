"""Caffe's names for GoogLeNet; the ONNX models that were made of it have the same, with _w_0 and _b_0.

BVLC/caffe models/bvlc_googlenet/train_val.prototxt.
"""

from __future__ import annotations

from inceptory.weights.rules import Drop, Rule, Table

C = r"\.conv\.(\w+)"
AUX = {"aux1": "loss1", "aux2": "loss2"}

GOOGLENET = Table(
    rules=(
        Rule(rf"Conv2d_1a_7x7{C}", "conv1/7x7_s2.{1}"),
        Rule(rf"Conv2d_2b_1x1{C}", "conv2/3x3_reduce.{1}"),
        Rule(rf"Conv2d_2c_3x3{C}", "conv2/3x3.{1}"),
        Rule(rf"Mixed_(\d)(\w)\.branch0\.0{C}", "inception_{1}{2<}/1x1.{3}"),
        Rule(rf"Mixed_(\d)(\w)\.branch1\.0{C}", "inception_{1}{2<}/3x3_reduce.{3}"),
        Rule(rf"Mixed_(\d)(\w)\.branch1\.1{C}", "inception_{1}{2<}/3x3.{3}"),
        Rule(rf"Mixed_(\d)(\w)\.branch2\.0{C}", "inception_{1}{2<}/5x5_reduce.{3}"),
        Rule(rf"Mixed_(\d)(\w)\.branch2\.1{C}", "inception_{1}{2<}/5x5.{3}"),
        Rule(rf"Mixed_(\d)(\w)\.branch3\.0{C}", "inception_{1}{2<}/pool_proj.{3}"),
        *(
            rule
            for ours, there in AUX.items()
            for rule in (
                Rule(rf"{ours}\.body\.0{C}", f"{there}/conv." + "{1}"),
                Rule(rf"{ours}\.body\.1\.(\w+)", f"{there}/fc." + "{1}"),
                Rule(rf"{ours}\.classifier\.(\w+)", f"{there}/classifier." + "{1}"),
            )
        ),
        Rule(r"head\.classifier\.(\w+)", "loss3/classifier.{1}"),
    ),
    drops=(Drop(r"OC2_DUMMY_\d+", "a shape that Caffe2 wrote beside the tensors"),),
)
