"""Examples of a prepared data set of TensorFlow Datasets with some of their features alone."""

from collections.abc import Collection, Sequence
from typing import Any


class Examples:
    """Random access to the examples of one split, of which the rest is not even parsed.

    For CelebA, parsing attributes and landmarks too would take more than 1.5 times as long.
    """

    def __init__(self, builder: Any, split: str, features: Collection[str], *, decode_images: bool = True):
        """Opens a split.

        Args:
          builder: of a data set that is prepared.
          split: its name.
          features: their names.
          decode_images: gives arrays, else the bytes of the file.
        """
        import tensorflow_datasets as tfds

        # As tfds.decode.PartialDecoding does, which needs TensorFlow.
        self._features = tfds.features.FeaturesDict({name: builder.info.features[name] for name in features})
        self._decoders = None if decode_images else {"image": tfds.decode.SkipDecoding()}
        self._records = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)

    def __len__(self) -> int:
        return len(self._records)

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        records = self._records.__getitems__(indices)
        return [self._features.deserialize_example_np(record, decoders=self._decoders) for record in records]
