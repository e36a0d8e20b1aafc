"""Writes data sets of TensorFlow Datasets, with made-up content, as preparing them would; without TensorFlow."""

import io
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import example_serializer, file_adapters, naming
from tensorflow_datasets.core import splits as tfds_splits


def write(name, data_dir, sizes, **values):
    """Writes `sizes` = {split: number of examples} with the builder's true features.

    Args:
      name: of the data set.
      data_dir: where to.
      sizes: of the splits.
      **values: feature -> what (split, index) holds; other features are zero, and images noise.

    Returns:
      the folder of the files.
    """
    builder = tfds.builder(name, data_dir=data_dir)
    builder.info.set_file_format("array_record", override=True)
    path = pathlib.Path(builder.data_path)
    path.mkdir(parents=True)
    features = builder.info.features
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    infos = []
    for split, size in sizes.items():
        records = []
        for index in range(size):
            example = {
                key: values[key](split, index) if key in values else _made_up(feature, index)
                for key, feature in features.items()
            }
            example["image"] = _png(np.asarray(example["image"]))
            records.append(serializer.serialize_example(features.encode_example(example)))
        template = naming.ShardedFileTemplate(
            data_dir=path, dataset_name=builder.name, split=split, filetype_suffix="array_record"
        )
        file = template.sharded_filepath(shard_index=0, num_shards=1)
        file_adapters.ArrayRecordFileAdapter.write_examples(file, enumerate(records))
        infos.append(
            tfds_splits.SplitInfo(
                name=split, shard_lengths=[size], num_bytes=sum(map(len, records)), filename_template=template
            )
        )
    builder.info.set_splits(tfds_splits.SplitDict(infos))
    builder.info.write_to_directory(path)
    return path


def _made_up(feature, index):
    if isinstance(feature, tfds.features.Image):
        return np.random.default_rng(index).integers(0, 256, feature.shape).astype(np.uint8)
    if isinstance(feature, tfds.features.FeaturesDict):
        return {key: _made_up(inner, index) for key, inner in feature.items()}
    if isinstance(feature, tfds.features.Text):
        return f"{index}"
    return np.zeros(feature.shape, feature.np_dtype)


def _png(image):
    """As a file, which is stored as it is; an array would be encoded by TensorFlow."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, format="PNG")
    file.seek(0)
    return file
