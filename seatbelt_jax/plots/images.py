"""Grids of small images as PNG, and data URIs that carry them inside a page."""

import base64
import io
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

# Between tiles: light on black images, dark on white ones.
_GAP_LEVEL = 190
_LEVELS = 255
_LEAST_TILE = 96
_JPEG_QUALITY = 75


def image_grid(
    images: Float[np.ndarray, "rows columns height width channels"],
    image_range: tuple[float, float],
    *,
    scale: int | None = None,
) -> bytes:
    """A PNG of images in rows and columns, thin grey gaps between them.

    Args:
      images: grey (one channel) or RGB (three); values outside the range are clipped and what is not
        finite is black.
      image_range: (low, high), the values shown black and white.
      scale: the whole number of screen pixels that each pixel is blown up to, by nearest neighbour; by
        default images smaller than 96 pixels grow towards it. The gaps are as wide.

    Raises:
      ValueError: for another shape, an empty grid, an empty range or a scale below 1.
    """
    images = np.asarray(images)
    if images.ndim != 5 or images.shape[-1] not in (1, 3) or images.size == 0:
        raise ValueError(
            f"a grid takes images [rows, columns, height, width, channels] of 1 or 3 channels, got {images.shape}"
        )
    height, width = images.shape[2:4]
    if scale is None:
        scale = max(1, _LEAST_TILE // max(height, width))
    if scale < 1:
        raise ValueError(f"scale must be at least 1, got {scale}")
    canvas = _canvas(to_levels(images, image_range))
    return _encoded(canvas.repeat(scale, axis=0).repeat(scale, axis=1), "PNG", optimize=True)


def smallest(levels: UInt8[np.ndarray, "rows columns height width channels"]) -> str:
    """A grid of images, one screen pixel each pixel, as the address of a PNG or, where that is smaller, of a JPEG."""
    canvas = _canvas(levels)
    encoded = [
        (_encoded(canvas, "PNG", optimize=True), "image/png"),
        (_encoded(canvas, "JPEG", quality=_JPEG_QUALITY, optimize=True, subsampling=0), "image/jpeg"),
    ]
    return data_uri(*min(encoded, key=lambda one: len(one[0])))


def distortion_image(
    distortion: Float[np.ndarray, "*image"], image_range: tuple[float, float]
) -> Float[np.ndarray, "*image"]:
    """A distortion as an image: mid-grey is no change, black and white are minus and plus the whole range."""
    low, high = image_range
    return np.asarray(0.5 * (low + high) + 0.5 * distortion)


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """The content itself as an address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def to_levels(images: np.ndarray, image_range: tuple[float, float]) -> UInt8[np.ndarray, "..."]:
    """Images as bytes, 0 and 255 the ends of the range; what is outside is clipped and what is not finite 0."""
    low, high = image_range
    if not low < high:
        raise ValueError(f"image_range must be (low, high) with low < high, got {image_range}")
    shares = np.nan_to_num((np.asarray(images, np.float64) - low) / (high - low), nan=0.0, posinf=0.0, neginf=0.0)
    return np.rint(np.clip(shares, 0.0, 1.0) * _LEVELS).astype(np.uint8)


def _canvas(
    tiles: UInt8[np.ndarray, "rows columns height width channels"],
) -> UInt8[np.ndarray, "canvas_height canvas_width channels"]:
    """The tiles with gaps of one pixel between them."""
    rows, columns, height, width, channels = tiles.shape
    canvas = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), _GAP_LEVEL, np.uint8)
    for row in range(rows):
        for column in range(columns):
            top, left = row * (height + 1), column * (width + 1)
            canvas[top : top + height, left : left + width] = tiles[row, column]
    return canvas


def _encoded(canvas: UInt8[np.ndarray, "height width channels"], kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(canvas[..., 0] if canvas.shape[-1] == 1 else canvas).save(buffer, kind, **options)
    return buffer.getvalue()
