"""torchvision's names for googlenet and inception_v3; timm's and gluon's Inception v3 are called the same.

torchvision/models/googlenet.py and inception.py.
"""

from __future__ import annotations

from inceptory.weights.rules import Drop, Rule, Table

COUNTERS = Drop(r".*\.num_batches_tracked|n_averaged", "PyTorch's counters of batches and of averaged steps")

# A layer's tensors carry the same last words there as here.
T = r"\.(conv\.\w+|bn\.\w+)"

INCEPTION_V3 = Table(
    rules=(
        Rule(rf"(Conv2d_\w+){T}", "{1}.{2}"),
        Rule(rf"(Mixed_\w+)\.branch3\.0{T}", "{1}.branch_pool.{2}"),
        # 35x35
        Rule(rf"(Mixed_5[bcd])\.branch0\.0{T}", "{1}.branch1x1.{2}"),
        Rule(rf"(Mixed_5[bcd])\.branch1\.(\d){T}", "{1}.branch5x5_{2+1}.{3}"),
        Rule(rf"(Mixed_5[bcd])\.branch2\.(\d){T}", "{1}.branch3x3dbl_{2+1}.{3}"),
        Rule(rf"(Mixed_6a)\.branch0\.0{T}", "{1}.branch3x3.{2}"),
        Rule(rf"(Mixed_6a)\.branch1\.(\d){T}", "{1}.branch3x3dbl_{2+1}.{3}"),
        # 17x17
        Rule(rf"(Mixed_6[b-e])\.branch0\.0{T}", "{1}.branch1x1.{2}"),
        Rule(rf"(Mixed_6[b-e])\.branch1\.(\d){T}", "{1}.branch7x7_{2+1}.{3}"),
        Rule(rf"(Mixed_6[b-e])\.branch2\.(\d){T}", "{1}.branch7x7dbl_{2+1}.{3}"),
        Rule(rf"(Mixed_7a)\.branch0\.(\d){T}", "{1}.branch3x3_{2+1}.{3}"),
        Rule(rf"(Mixed_7a)\.branch1\.(\d){T}", "{1}.branch7x7x3_{2+1}.{3}"),
        # 8x8, with forks called a and b
        Rule(rf"(Mixed_7[bc])\.branch0\.0{T}", "{1}.branch1x1.{2}"),
        Rule(rf"(Mixed_7[bc])\.branch1\.0{T}", "{1}.branch3x3_1.{2}"),
        Rule(rf"(Mixed_7[bc])\.branch1\.1\.branch0\.0{T}", "{1}.branch3x3_2a.{2}"),
        Rule(rf"(Mixed_7[bc])\.branch1\.1\.branch1\.0{T}", "{1}.branch3x3_2b.{2}"),
        Rule(rf"(Mixed_7[bc])\.branch2\.([01]){T}", "{1}.branch3x3dbl_{2+1}.{3}"),
        Rule(rf"(Mixed_7[bc])\.branch2\.2\.branch0\.0{T}", "{1}.branch3x3dbl_3a.{2}"),
        Rule(rf"(Mixed_7[bc])\.branch2\.2\.branch1\.0{T}", "{1}.branch3x3dbl_3b.{2}"),
        # heads
        Rule(rf"AuxLogits\.body\.(\d){T}", "AuxLogits.conv{1}.{2}"),
        Rule(r"AuxLogits\.classifier\.(\w+)", "AuxLogits.fc.{1}"),
        Rule(r"head\.classifier\.(\w+)", "fc.{1}"),
    ),
    drops=(COUNTERS,),
)

GOOGLENET = Table(
    rules=(
        Rule(rf"Conv2d_1a_7x7{T}", "conv1.{1}"),
        Rule(rf"Conv2d_2b_1x1{T}", "conv2.{1}"),
        Rule(rf"Conv2d_2c_3x3{T}", "conv3.{1}"),
        # The first branch is a single layer there; the pool takes number 0 of the last.
        Rule(rf"Mixed_(\d)(\w)\.branch0\.0{T}", "inception{1}{2<}.branch1.{3}"),
        Rule(rf"Mixed_(\d)(\w)\.branch3\.0{T}", "inception{1}{2<}.branch4.1.{3}"),
        Rule(rf"Mixed_(\d)(\w)\.branch([12])\.(\d){T}", "inception{1}{2<}.branch{3+1}.{4}.{5}"),
        Rule(rf"(aux\d)\.body\.0{T}", "{1}.conv.{2}"),
        Rule(r"(aux\d)\.body\.1\.(\w+)", "{1}.fc1.{2}"),
        Rule(r"(aux\d)\.classifier\.(\w+)", "{1}.fc2.{2}"),
        Rule(r"head\.classifier\.(\w+)", "fc.{1}"),
    ),
    drops=(COUNTERS,),
)
