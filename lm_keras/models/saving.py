"""How networks are exported, saved and tracked as Keras does it, and what of Keras they refuse."""

import os
from collections.abc import Sequence
from typing import Any

import keras

from lm_keras.errors import InputError

NO_QUANTIZATION = (
    "the networks of lm_keras cannot be quantized: Keras quantizes its own Dense and Embedding layers, and"
    " their matrices are in neither; build the network with dtype='mixed_bfloat16' for products in half"
    " precision"
)


@keras.saving.register_keras_serializable(package="lm_keras", name="TokenEmbedding")
class TokenEmbedding(keras.layers.Embedding):
    """A table of which networks read rows themselves, so that numbers of another kind in it would
    be misread.
    """

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """Refuse; a model around the network says so and goes on with its other layers."""
        raise NotImplementedError(NO_QUANTIZATION)


class SavableModel(keras.Model):
    """A network whose tokens [B, T] are its only input, and whose layers may be in lists."""

    def export(
        self,
        filepath: str | os.PathLike,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Export the network, as `keras.Model.export` does; unless a signature says otherwise, for any rows
        of any length.
        """
        if input_signature is None:
            input_signature = [keras.InputSpec(shape=(None, None), dtype="int32", name="tokens")]
        return super().export(filepath, format, verbose, input_signature, **kwargs)

    def save(self, filepath: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Save the network, as `keras.Model.save` does, but for its older format."""
        if str(filepath).endswith((".h5", ".hdf5")):
            raise InputError(
                f"{filepath}: Keras's format .h5 holds functional models only; take a name that ends in"
                " .keras, or save_weights and a name that ends in .weights.h5"
            )
        super().save(filepath, *args, **kwargs)

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: Keras would quantize the embedding alone, in which the network reads rows itself."""
        raise NotImplementedError(NO_QUANTIZATION)

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> dict[str, Any]:
        # `tf.train.Checkpoint(model=network)` would leave out layers in a list, and say nothing.
        children = super()._trackable_children(save_type, **kwargs)
        if save_type == "checkpoint":
            names = {f"{place:04d}_{v.name}": v.value for place, v in enumerate(self.variables)}
            children = {**children, **names}
        return children
