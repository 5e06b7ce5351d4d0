"""The article's listing, literally: Embedding, LSTM, Dense with softmax, compiled for plain `fit`."""

import keras


def build() -> keras.Sequential:
    """Return the compiled network of the article's section 5.2, 219,240 parameters.

    It maps tokens [B, T] to probabilities [B, T, 1000] and wants its targets one-hot, [B, T, 1000]. The
    article trains it with `model.fit(x_train, y_train, epochs=10, batch_size=32)`.

    Example:
        >>> import numpy as np
        >>> model = build()
        >>> tokens = np.arange(5 * 13).reshape(5, 13)
        >>> x, y = tokens[:, :-1], np.eye(1000)[tokens[:, 1:]]
        >>> history = model.fit(x, y, epochs=1, batch_size=32, verbose=0)
        >>> model.count_params()
        219240
    """
    model = keras.Sequential(
        [
            keras.layers.Embedding(1000, 16),
            keras.layers.LSTM(128, return_sequences=True),
            keras.layers.Dense(1000, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return model
