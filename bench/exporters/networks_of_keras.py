"""Keras networks, as its users build them, for every backend."""

from keras import Sequential, layers


def mlp() -> Sequential:
    """Features, a batch normalization, dropout."""
    return Sequential(
        [
            layers.Input((12,)),
            layers.Dense(24, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.Dense(4, activation="softmax"),
        ]
    )


def signal() -> Sequential:
    """A window of six sensors."""
    return Sequential(
        [
            layers.Input((32, 6)),
            layers.Conv1D(12, 5, activation="relu", padding="same"),
            layers.MaxPooling1D(2),
            layers.Conv1D(16, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(5),
        ]
    )


def image() -> Sequential:
    """A small convolutional network with batch normalization."""
    return Sequential(
        [
            layers.Input((16, 16, 3)),
            layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.Conv2D(12, 3, activation="relu"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )


def separable() -> Sequential:
    """Depthwise and separable convolutions, a global pool."""
    return Sequential(
        [
            layers.Input((16, 16, 1)),
            layers.SeparableConv2D(8, 3, padding="same", activation="relu"),
            layers.DepthwiseConv2D(3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(12, 1, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )


NETWORKS = {"mlp": mlp, "signal": signal, "image": image, "separable": separable}
