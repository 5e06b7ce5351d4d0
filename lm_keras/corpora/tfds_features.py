"""The features of a data set of TensorFlow Datasets: which of them hold the text, the label or the pair."""

from collections.abc import Callable
from typing import Any

from lm_keras.corpora import tfds_builders
from lm_keras.corpora.documents import Reading
from lm_keras.errors import InputError, nearest

ONLY_TEXT = "text"
"""The text field that also means a data set's only string feature, whatever its name."""


def string_features(features: Any) -> dict[str, tuple[str, ...]]:
    """Return the features that are one string an example: name with slashes -> names that lead there.

    Example:
        >>> string_features(tfds.features.FeaturesDict({
        ...     "id": np.int64, "title": tfds.features.Text(), "words":
        tfds.features.Sequence(tfds.features.Text()), ...     "pair": tfds.features.Translation(["de",
        "en"])})) {'pair/de': ('pair', 'de'), 'pair/en': ('pair', 'en'), 'title': ('title',)}
    """
    import tensorflow_datasets as tfds

    found = {}
    for name, feature in features.items() if isinstance(features, tfds.features.FeaturesDict) else ():
        for inner, path in string_features(feature).items():
            found[f"{name}/{inner}"] = (name, *path)
        info = feature.get_tensor_info()
        if isinstance(info, tfds.features.TensorInfo) and info.shape == () and info.np_dtype in (str, object):
            found[name] = (name,)
    return dict(sorted(found.items()))


def text_path(builder: Any, text_field: str, say: Callable[[str], None]) -> tuple[str, ...]:
    found, name = string_features(builder.info.features), tfds_builders.name_of(builder)
    if text_field in found:
        return found[text_field]
    if text_field == ONLY_TEXT and len(found) == 1:
        (only,) = found
        say(f"the text is the feature {only!r}, the only string in tfds:{name}")
        return found[only]
    raise InputError(
        f"tfds:{name}: no string feature {text_field!r}{nearest(text_field, list(found))}: its string"
        f" features are {tfds_builders.listed(list(map(repr, found))) or 'none'}; name the one with the text"
        " with --text_field"
    )


def side_path(builder: Any, reading: Reading, number: int) -> tuple[str, ...]:
    """Return the feature with the source, number 0, or the target, 1.

    Where no setting names it, it is the feature of that name, or what the data set says of itself.
    """
    found, name = string_features(builder.info.features), tfds_builders.name_of(builder)
    what = ("source", "target")[number]
    given = getattr(reading, f"{what}_field")
    if (given or what) in found:
        return found[given or what]
    own = builder.info.supervised_keys
    if given is None and own and len(own) == 2 and all(isinstance(key, str) and key in found for key in own):
        reading.say(f"the {what} is the feature {own[number]!r}, as tfds:{name} says of itself")
        return found[own[number]]
    raise InputError(
        f"tfds:{name}: no string feature {given or what!r}{nearest(given or what, list(found))}: its string"
        f" features are {tfds_builders.listed(list(map(repr, found))) or 'none'}; name the one with the"
        f" {what} with --{what}_field"
    )


def class_features(features: Any) -> dict[str, tuple[str, ...]]:
    """Return the features that are a class of each example: name with slashes -> names that lead there."""
    import tensorflow_datasets as tfds

    found = {}
    for name, feature in features.items() if isinstance(features, tfds.features.FeaturesDict) else ():
        for inner, path in class_features(feature).items():
            found[f"{name}/{inner}"] = (name, *path)
        if isinstance(feature, tfds.features.ClassLabel):
            found[name] = (name,)
    return dict(sorted(found.items()))


def label_path(builder: Any, reading: Reading) -> tuple[str, ...]:
    found, name = class_features(builder.info.features), tfds_builders.name_of(builder)
    wanted = reading.label_field or "label"
    if wanted in found:
        return found[wanted]
    if reading.label_field is None and len(found) == 1:
        (only,) = found
        reading.say(f"the label is the feature {only!r}, the only class in tfds:{name}")
        return found[only]
    raise InputError(
        f"tfds:{name}: no class {wanted!r}{nearest(wanted, list(found))}: its features with classes are"
        f" {tfds_builders.listed(list(map(repr, found))) or 'none'}; name the one with the label with"
        " --label_field"
    )


def within(values: Any, path: tuple[str, ...]) -> Any:
    """Return what names lead to in values, or in features, of an example."""
    for name in path:
        values = values[name]
    return values
