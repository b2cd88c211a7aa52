"""Keras' names for InceptionV3, InceptionResNetV2 and Xception, and for the CIFAR networks of the tutorial.

keras/src/applications/inception_v3.py, inception_resnet_v2.py, xception.py. Most layers have no name
of their own: they are numbered in the order of their creation, which is the order of our tables.
"""

from __future__ import annotations

from inceptory.weights.rules import Fill, Numbered, Rule, Table

HEAD = Rule(r"head\.classifier\.(\w+)", "predictions.{1}")
NUMBERED = (
    Numbered(r"(.*)\.conv\.(\w+)", "conv2d#{#}.{2}"),
    Numbered(r"(.*)\.bn\.(\w+)", "batch_normalization#{#}.{2}"),
)

# Read in another package's dialect, such a file has gammas that change nothing.
GAMMA = Fill(r".*\.bn\.weight", 1.0, "Keras trains InceptionV3 and InceptionResNetV2 without gamma")

INCEPTION_V3 = Table((HEAD,), numbered=NUMBERED, fills=(GAMMA,))

INCEPTION_RESNET_V2 = Table(
    rules=(
        HEAD,
        Rule(r"(block\d+_\d+)\.up\.conv\.(\w+)", "{1}_conv.{2}"),
        Rule(r"Block8\.up\.conv\.(\w+)", "block8_10_conv.{1}"),
        Rule(r"Conv2d_7b_1x1\.conv\.(\w+)", "conv_7b.{1}"),
        Rule(r"Conv2d_7b_1x1\.bn\.(\w+)", "conv_7b_bn.{1}"),
    ),
    numbered=NUMBERED,
    fills=(GAMMA,),
)

XCEPTION = Table(
    rules=(
        HEAD,
        Rule(r"(block1_conv\d)\.conv\.weight", "{1}.weight"),
        Rule(r"(block1_conv\d)\.bn\.(\w+)", "{1}_bn.{2}"),
        Rule(r"(block14_sepconv\d)\.dw\.conv\.weight", "{1}.depthwise"),
        Rule(r"(block14_sepconv\d)\.pw\.conv\.weight", "{1}.pointwise"),
        Rule(r"(block14_sepconv\d)\.pw\.bn\.(\w+)", "{1}_bn.{2}"),
        Rule(r"(block\d+)\.body\.(\d)\.dw\.conv\.weight", "{1}_sepconv{2+1}.depthwise"),
        Rule(r"(block\d+)\.body\.(\d)\.pw\.conv\.weight", "{1}_sepconv{2+1}.pointwise"),
        Rule(r"(block\d+)\.body\.(\d)\.pw\.bn\.(\w+)", "{1}_sepconv{2+1}_bn.{3}"),
    ),
    numbered=NUMBERED,  # the four shortcuts
)

CIFAR = Table((HEAD,), numbered=NUMBERED)
CIFAR_V1 = Table(
    rules=(Rule(r"head\.classifier\.(\d)\.(\w+)", "dense#{1}.{2}"),),
    numbered=(NUMBERED[0], Numbered(r"(BatchNorm_\w+)\.(\w+)", "batch_normalization#{#}.{2}")),
)
