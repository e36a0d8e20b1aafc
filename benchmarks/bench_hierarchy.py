"""Sound margins of a hierarchy at a fixed R: what their bounds take, and on how many images they hold.

    python -m benchmarks.bench_hierarchy --run=runs/pathwise/small_seatbelt --images=100

The runs are those of `bench_pathwise`. Each uses its first images, alpha = 1e-3 and 64 draws. More than enough
clean draws of every image lie within r, which is chosen by draws of its own. An image has a sound margin of at least R
where 45 of its draws are proven to stay within r at R; R is a share of r that is fixed before the draws. Seconds are of
the processor. The gap is the order statistic of radii at which gradient ascent takes the same draws out of the ball
over R, on a few images: from above. Rows of other runs stay in the results file.
"""

import argparse
import json
import resource
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from benchmarks.bench_pathwise import ALPHA, PATHS, RISK, attack_margin, layers_of, met_radius, noise_of
from benchmarks.bench_soundness import Subject, of_run
from benchmarks.hardware import RESULTS, describe, write_results
from seatbelt_jax.bounds import propagation
from seatbelt_jax.bounds.confidence import sufficient_hits
from seatbelt_jax.bounds.layers import Layers


def reconstructed(layers: Layers, x: jax.Array, noise: jax.Array) -> jax.Array:
    return layers.reconstruct(x, noise)


def passed(layers: Layers, image: np.ndarray, index: int, size: float, radius: float) -> int:
    """How many draws of an image are proven to stay within r at a size of perturbations."""
    noise = noise_of(layers, index, 0, PATHS)
    centre = np.asarray(layers.reconstruct(image, jnp.zeros(noise.shape[1])))
    reconstruct = Partial(reconstructed, layers)
    return int(np.sum(propagation.deviation_bound(reconstruct, image, noise, centre, size) <= radius))


def measure(subject: Subject, share: float, attacked: int, radius: float) -> dict[str, Any]:
    layers, needed, size = layers_of(subject), sufficient_hits(PATHS, ALPHA, RISK), share * radius
    clock = time.process_time()
    passed(layers, subject.images[0], 0, size, radius)
    first = time.process_time() - clock
    clock = time.process_time()
    hits = [passed(layers, image, index, size, radius) for index, image in enumerate(subject.images)]
    test = (time.process_time() - clock) / len(hits)
    found = [attack_margin(layers, subject.images[index], index, radius, 50.0 * size) for index in range(attacked)]
    return {
        "run": subject.name,
        "images": len(hits),
        "radius": radius,
        "size": size,
        "images_with_a_margin_of_size": sum(count >= needed for count in hits),
        "processor_seconds_of_the_first_test": first,
        "processor_seconds_of_a_test": test,
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "attacked_images": len(found),
        "median_attack_over_size": float(np.median(found)) / size if found else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="append", required=True)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--attacked", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0 / 64.0, help="R over r")
    args = parser.parse_args()
    print(describe(), flush=True)
    file = RESULTS / f"hierarchy_{jax.default_backend()}.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    rows = [row for row in rows if row["run"] not in args.run]
    for path in args.run:
        subject = of_run(path, args.images)
        rows.append(measure(subject, args.share, args.attacked, met_radius(subject)))
        print(rows[-1], flush=True)
    print(write_results("hierarchy", rows, settings=vars(args)), flush=True)


if __name__ == "__main__":
    main()
