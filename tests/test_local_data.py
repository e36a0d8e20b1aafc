"""What a configuration may say of data in files."""

import pytest

from tests.local_files import load


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "folders:x"}, "unknown kind of data 'folders'.*did you mean folder:x"),
        ({"name": "zarr:x"}, "there are folder:PATH, chairs:PATH, npz:PATH, mat:PATH"),
        ({"name": "npz"}, "lacks the path"),
        ({"name": "digits", "on_corrupt": "ignore"}, "data.on_corrupt must be one of refuse, skip"),
        ({"name": "digits", "channels": 2}, r"data\.channels must be 1 .* 3 .* 0"),
        ({"name": "digits", "image_size": 0}, "data.image_size must be a positive"),
        ({"name": "digits", "image_size": 8.0}, "data.image_size must be a positive"),
        ({"name": "digits", "crop": (0, -1, 4, 4)}, "data.crop must be"),
        ({"name": "digits", "crop": (0, 0, 0, 4)}, "data.crop must be"),
        ({"name": "digits", "crop": 5}, "data.crop must be"),
    ],
)
def test_bad_settings_of_files_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        load(**fields)
