"""Run with a Python that has Keras and TensorFlow: what they make of pictures.

    python keras_pictures.py FOLDER

For every FOLDER/NAME.png, answers.npz gets NAME/NETWORK as Keras prepares it for its three networks,
and NAME/slim SIZE by TensorFlow's functions that tf-slim's preprocess_for_eval calls, in its order.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
APPLICATIONS = ("inception_v3", "inception_resnet_v2", "xception")


def keras_picture(path: Path, application: str) -> np.ndarray:
    import keras

    loaded = keras.utils.img_to_array(keras.utils.load_img(path, target_size=(299, 299)))
    return getattr(keras.applications, application).preprocess_input(loaded)


def slim_picture(path: Path, size: int) -> np.ndarray:
    """tensorflow/models research/slim/preprocessing/inception_preprocessing.py is in no package."""
    import tensorflow as tf

    image = tf.image.decode_png(path.read_bytes(), channels=3)
    image = tf.image.convert_image_dtype(image, tf.float32)
    image = tf.image.central_crop(image, central_fraction=0.875)
    image = tf.compat.v1.image.resize_bilinear(image[None], [size, size], align_corners=False)[0]
    return ((image - 0.5) * 2.0).numpy()


def main(folder: Path) -> None:
    answers = {}
    for path in folder.glob("*.png"):
        answers |= {f"{path.stem}/{name}": keras_picture(path, name) for name in APPLICATIONS}
        answers |= {f"{path.stem}/slim {size}": slim_picture(path, size) for size in (224, 299)}
    np.savez(folder / "answers.npz", **{name: values.transpose(2, 0, 1) for name, values in answers.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
