"""What a configuration may say of data in files."""

import pytest

from tests.local_files import load


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "folders:x"}, "unknown kind of data 'folders'.*did you mean folder:x"),
        ({"name": "zarr:x"}, "there are folder:PATH, chairs:PATH, npz:PATH, mat:PATH"),
        ({"name": "npz"}, "lacks the path of the npz archive; write npz:PATH"),
        ({"name": "mat"}, "lacks the path of the MATLAB file; write mat:PATH"),
        ({"name": "chairs"}, "lacks the path of the folder; write chairs:PATH"),
        (
            {"name": "/data/cats"},
            "unknown data set '/data/cats'.* did you mean folder:/data/cats.* npz:PATH or mat:PATH",
        ),
        ({"name": "../cats/small"}, r"did you mean folder:\.\./cats/small"),
        ({"name": "a/cats/small"}, "did you mean folder:a/cats/small"),
        ({"name": "cats.NPZ"}, "did you mean npz:cats.NPZ"),
        ({"name": "b/cats.mat"}, "did you mean mat:b/cats.mat"),
        ({"name": "sprites", "crop": (0, 0, 8, 8)}, "data.crop and data.fit are for stored images, and sprites"),
        ({"name": "mock", "fit": "pad"}, r"mock are computed.* got crop=\(\) and fit='pad'"),
        ({"name": "swiss_roll", "fit": "pad"}, "leave both out"),
        ({"name": "digits", "on_corrupt": "ignore"}, "data.on_corrupt must be one of refuse, skip"),
        ({"name": "digits", "channels": 2}, r"data\.channels must be 1 .* 3 .* 0"),
        ({"name": "digits", "image_size": 0}, "data.image_size must be at least 1, got 0"),
        ({"name": "digits", "image_size": 8.0}, r"data.image_size must be .*whole number.*, got 8\.0"),
        ({"name": "digits", "crop": (0, -1, 4, 4)}, "data.crop must be"),
        ({"name": "digits", "crop": (0, 0, 0, 4)}, "data.crop must be"),
        ({"name": "digits", "crop": 5}, r"data.crop must be a list of 4 whole numbers or \(\) or None, got 5"),
    ],
)
def test_bad_settings_of_files_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        load(**fields)
