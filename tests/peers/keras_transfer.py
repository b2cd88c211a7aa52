"""Run with a Python that has Keras: a head for one's own pictures on Xception, as Keras' guides do it.

    python keras_transfer.py save FILE                      # weights of Xception without its top, drawn anew
    python keras_transfer.py guide DATA FILE SIZE EPOCHS    # the frozen network under a Dense layer
    python keras_transfer.py once DATA FILE SIZE EPOCHS     # the same layer on vectors that were computed once
    python keras_transfer.py tutorial DATA FILE SIZE EPOCHS # all layers learn, by the Xception tutorial's SGD

DATA is a folder of class folders, a tenth of which is held out. The last line printed is JSON: the accuracy on that
tenth, and the versions. Sources: keras.io/guides/transfer_learning (its augmentation left out, which would cost more)
and keras.io/examples/vision/image_classification_from_scratch (how folders are read).
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import tensorflow as tf


def parts(data: str, size: int, batch: int) -> tuple[Any, Any, int]:
    """Training and validation pictures in batches, and the number of classes."""
    both = keras.utils.image_dataset_from_directory(
        data, validation_split=0.1, subset="both", seed=0, image_size=(size, size), batch_size=batch, verbose=False
    )
    train, validation = (part.prefetch(tf.data.AUTOTUNE) for part in both)
    return train, validation, len(both[0].class_names)


def base_of(file: str, size: int) -> Any:
    return keras.applications.Xception(weights=file, include_top=False, input_shape=(size, size, 3))


def compiled(model: Any, optimizer: Any) -> Any:
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def on_pictures(base: Any, size: int, classes: int) -> Any:
    """The guide's model: pixels from 0 to 255 to logits."""
    inputs = keras.Input((size, size, 3))
    x = base(keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs), training=base.trainable)
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, keras.layers.Dense(classes)(x))


def guide(data: str, file: str, size: int, epochs: int) -> Any:
    train, validation, classes = parts(data, size, 32)
    base = base_of(file, size)
    base.trainable = False
    model = compiled(on_pictures(base, size, classes), keras.optimizers.Adam())
    return model.fit(train, epochs=epochs, validation_data=validation, verbose=2)


def once(data: str, file: str, size: int, epochs: int) -> Any:
    """Faster than the guide, and what few do: `predict` over all pictures, then `fit` on what it gave."""
    *both, classes = parts(data, size, 32)
    inputs = keras.Input((size, size, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    vectors = keras.layers.GlobalAveragePooling2D()(base_of(file, size)(scaled, training=False))
    extractor = keras.Model(inputs, vectors)
    seen = []
    for part in both:
        labels = list[Any]()
        # The training pictures come in another order each time: labels are noted as their batches pass.
        noted = [extractor.predict_on_batch(batch) for batch, truth in part if labels.append(truth.numpy()) is None]
        seen.append((tf.concat(noted, 0), tf.concat(labels, 0)))
    head = compiled(keras.Sequential([keras.layers.Dropout(0.2), keras.layers.Dense(classes)]), keras.optimizers.Adam())
    return head.fit(*seen[0], epochs=epochs, validation_data=seen[1], verbose=2)


def tutorial(data: str, file: str, size: int, epochs: int) -> Any:
    """SGD(lr=1e-3, decay=1e-6, momentum=0.9, nesterov=True) of Keras 2, batches of 16, pictures mirrored by chance."""
    train, validation, classes = parts(data, size, 16)
    flip = keras.layers.RandomFlip("horizontal")
    flipped = train.map(lambda x, y: (flip(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE)
    rate = keras.optimizers.schedules.InverseTimeDecay(1e-3, 1, 1e-6)
    model = on_pictures(base_of(file, size), size, classes)
    compiled(model, keras.optimizers.SGD(rate, momentum=0.9, nesterov=True))
    return model.fit(flipped, epochs=epochs, validation_data=validation, verbose=2)


def main(way: str, *given: str) -> None:
    if way == "save":
        keras.applications.Xception(weights=None, include_top=False).save_weights(given[0])
        return
    data, file, size, epochs = given
    fit = {"guide": guide, "once": once, "tutorial": tutorial}[way]
    history = fit(data, file, int(size), int(epochs)).history
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    print(json.dumps({"accuracy": history["val_accuracy"][-1], **versions}))


if __name__ == "__main__":
    main(*sys.argv[1:])
