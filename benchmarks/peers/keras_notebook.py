"""The notebook's four experiments in Keras, as they were: run by `benchmarks/peers.py` in an environment of its own.

    python keras_notebook.py DATA.npz

Prints a line of JSON for each experiment: its name, the seconds it took and its accuracy on the test images.
"""

from __future__ import annotations

import json
import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
from keras import layers

BATCH = 32


def convolutions() -> list[layers.Layer]:
    return [layers.Conv2D(32, 3, activation="relu") for _ in range(5)]


def classifier() -> keras.Model:
    net = keras.Sequential(
        [layers.Input((32, 32, 3)), *convolutions(), layers.Flatten(), layers.Dense(10, activation="softmax")]
    )
    net.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=[])
    return net


def decoder_layers() -> list[layers.Layer]:
    return [
        layers.Conv2DTranspose(32, 3, activation="relu"),
        layers.Conv2DTranspose(16, 5, activation="relu"),
        layers.Conv2DTranspose(16, 5, activation="relu"),
        layers.Conv2DTranspose(8, 6, activation="relu"),
        layers.Conv2DTranspose(3, 7, activation="relu"),
    ]


def encoder() -> keras.Model:
    return keras.Sequential([layers.Input((32, 32, 3)), *convolutions(), layers.MaxPooling2D(2)])


def supervised(data: dict[str, np.ndarray]) -> keras.Model:
    net = classifier()
    net.fit(data["labeled"], data["labels"], batch_size=BATCH, epochs=10, verbose=0)
    return net


def self_training(data: dict[str, np.ndarray]) -> keras.Model:
    net = classifier()
    images, labels, weights = data["labeled"], data["labels"], np.ones(len(data["labels"]), np.float32)
    for _ in range(10):
        net.fit(images, labels, sample_weight=weights, batch_size=BATCH, epochs=1, verbose=0)
        found = net.predict(data["pool"], batch_size=256, verbose=0)
        confidence = found.max(1)
        sure = confidence > 0.8
        images = np.concatenate([images, data["pool"][sure]])
        labels = np.concatenate([labels, found[sure].argmax(1)])
        weights = np.concatenate([weights, confidence[sure]])
    return net


def two_step(data: dict[str, np.ndarray]) -> keras.Model:
    first = encoder()
    autoencoder = keras.Sequential([layers.Input((32, 32, 3)), first, *decoder_layers()])
    autoencoder.compile("adam", "mse")
    everything = np.concatenate([data["labeled"], data["pool"]])
    autoencoder.fit(everything, everything, batch_size=BATCH, epochs=5, verbose=0)
    codes = first.predict(data["labeled"], batch_size=256, verbose=0)
    head = keras.Sequential(
        [
            layers.Input(codes.shape[1:]),
            layers.Flatten(),
            layers.Dense(25, activation="relu"),
            layers.Dense(15, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    head.compile("adam", "sparse_categorical_crossentropy")
    head.fit(codes, data["labels"], batch_size=BATCH, epochs=10, verbose=0)
    return keras.Sequential([layers.Input((32, 32, 3)), first, head])


def one_step(data: dict[str, np.ndarray]) -> keras.Model:
    inputs = layers.Input((32, 32, 3))
    image = encoder()(inputs)
    for layer in decoder_layers():
        image = layer(image)
    classes = layers.Dense(10, activation="softmax")(layers.Dense(15, activation="softmax")(layers.Flatten()(image)))
    net = keras.Model(inputs, [image, classes])
    net.compile("adam", ["mse", "categorical_crossentropy"])
    everything = np.concatenate([data["labeled"], data["pool"]])
    targets = np.zeros((len(everything), 10), np.float32)
    targets[np.arange(len(data["labels"])), data["labels"]] = 1
    net.fit(everything, [everything, targets], batch_size=BATCH, epochs=5, verbose=0)
    return keras.Model(inputs, classes)


def main() -> None:
    stored = np.load(sys.argv[1])
    data = {name: stored[name] for name in stored.files}
    for name in ("labeled", "pool", "test"):
        data[name] = data[name].astype(np.float32) / 255
    for experiment in (supervised, self_training, two_step, one_step):
        keras.utils.set_random_seed(0)
        began = time.perf_counter()
        net = experiment(data)
        seconds = time.perf_counter() - began
        guesses = net.predict(data["test"], batch_size=256, verbose=0).argmax(1)
        accuracy = float((guesses == data["test_labels"]).mean())
        print(json.dumps({"peer": f"Keras notebook, {experiment.__name__}", "seconds": seconds, "accuracy": accuracy}))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
