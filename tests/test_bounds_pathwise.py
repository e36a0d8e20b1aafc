"""Pathwise certificates on linear models of any depth, where each draw's radius has a closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import bounds, storage
from seatbelt_jax.bounds import confidence, pathwise_bounds
from seatbelt_jax.bounds.confidence import sufficient_hits
from seatbelt_jax.gaussian import DiagonalGaussian
from tests.reference.linear_paths import LinearPaths, jacobian_bound

SHAPE = (3, 2, 1)
PIXELS = 6
KEY = jax.random.key(0)
PICTURES = np.random.default_rng(1).normal(size=(3, *SHAPE)).astype(np.float32)
RADIUS, PATHS, ALPHA = 8.0, 48, 1e-2


def noise_of(index, total, count=PATHS):
    """The draws that certify takes: by the image's index and the draw's, whatever the batches."""
    keys = [jax.random.fold_in(jax.random.fold_in(KEY, index), draw) for draw in range(count)]
    return np.stack([jax.random.normal(key, (total,)) for key in keys])


def certified(model, pictures=PICTURES, method="pathwise", **settings):
    given = {"radius": RADIUS, "key": KEY, "num_paths": PATHS, "alpha": ALPHA} | settings
    return bounds.certify(None, model.decode, pictures, levels=model.levels, method=method, **given)


@pytest.fixture(autouse=True)
def bounds_in_closed_form(request, monkeypatch):
    """Bounds of linear models that need no compiler, but where `propagation` itself is at issue."""
    if "from_the_code" not in request.node.name:
        monkeypatch.setattr(pathwise_bounds.propagation, "deviation_bound", jacobian_bound)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(5,), (3, 2), (2, 1, 2)])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_margins_are_the_order_statistic_of_the_draws_radii(sizes, norm):
    model = LinearPaths(sizes, SHAPE)
    certificate = certified(model, norm=norm)
    rank = sufficient_hits(PATHS, ALPHA, 0.5)
    exact = np.array([np.sort(model.radii(noise_of(i, sum(sizes)), RADIUS, norm))[-rank] for i in range(3)])
    assert (exact > 0.0).all()
    assert (certificate.radius <= exact).all() and (certificate.radius >= {"l2": 0.99, "linf": 0.7}[norm] * exact).all()
    hits = [np.count_nonzero(model.radii(noise_of(i, sum(sizes)), RADIUS) > 0.0) for i in range(3)]
    np.testing.assert_array_equal(certificate.hits, hits)
    np.testing.assert_allclose(certificate.p_lower, confidence.lower_confidence_bound(np.array(hits), PATHS, ALPHA))
    assert certificate.soundness == "sound" and certificate.method == "pathwise" and certificate.norm == norm
    assert (certificate.num_samples == PATHS and certificate.norms is None) or len(sizes) == 1
    assert np.isnan(certificate.norm_bound).all() and not certificate.abstained.any()
    assert not any("frozen" in sentence or "linear" in sentence for sentence in certificate.assumptions)
    first_order = certified(model, norm=norm, method="pathwise_first_order")
    np.testing.assert_allclose(first_order.radius, certificate.radius, rtol={"l2": 0.01, "linf": 0.3}[norm])
    assert first_order.soundness == "first_order"


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_bounds_from_the_code_of_a_hierarchy_are_never_above_the_exact_margin(norm):
    model = LinearPaths((3, 2), SHAPE)
    certificate = certified(model, PICTURES[:1], norm=norm)
    rank, noise = sufficient_hits(PATHS, ALPHA, 0.5), noise_of(0, 5)
    exact = np.sort(model.exact_radii(noise, RADIUS, norm))[-rank]
    aligned = np.sort(model.radii(noise, RADIUS, norm))[-rank]
    assert {"l2": 0.99, "linf": 0.7}[norm] * aligned <= certificate.radius[0] <= exact


def test_one_layer_is_the_same_by_encode_and_by_levels_and_shares_its_draws():
    model = LinearPaths((4,), SHAPE)
    by_levels = certified(model)
    made = bounds.certify_dataset(
        lambda x: model.levels[0](x, ()),
        lambda z: model.decode((z,)),
        PICTURES,
        radius=RADIUS,
        key=KEY,
        num_paths=PATHS,
        num_samples=200,
        alpha=ALPHA,
        methods=("spectral", "pathwise", "pathwise_first_order", "best_sound"),
    )
    np.testing.assert_allclose(made["pathwise"].radius, by_levels.radius, rtol=1e-6)
    assert made["spectral"].num_samples == 200 and made["pathwise"].num_samples == PATHS
    assert (made["spectral"].hits >= made["pathwise"].hits).all()
    np.testing.assert_array_equal(made["pathwise"].hits, by_levels.hits)
    assert made["pathwise"].norms is not None


@pytest.mark.slow
def test_the_best_sound_margin_is_the_larger_of_two_at_half_of_alpha():
    """On linear models "hybrid" has the noise to spend; where a decoder is steep far away, "pathwise" sees that."""
    matrix = np.random.default_rng(0).normal(size=(3, PIXELS)).astype(np.float32)
    weights = np.linalg.qr(np.random.default_rng(1).normal(size=(PIXELS, 3)))[0].astype(np.float32)

    def made(steep, method, **settings):
        def encode(x):
            return DiagonalGaussian(matrix @ x.reshape(-1), jnp.full(3, -3.0))

        def decode(z):
            return (weights @ (z + steep * jax.nn.relu(z - 50.0))).reshape(SHAPE)

        given = {"radius": 1.5, "key": KEY, "num_samples": 3000, "alpha": ALPHA} | settings
        return bounds.certify(encode, decode, PICTURES, method=method, **given)

    for steep in (0.0, 50.0):
        best = made(steep, "best_sound")
        by_path, by_hybrid = (made(steep, method, alpha=ALPHA / 2.0) for method in ("pathwise", "hybrid"))
        np.testing.assert_allclose(best.radius, np.maximum(by_path.radius, by_hybrid.radius))
        assert (by_hybrid.radius > by_path.radius).all() == (steep == 0.0)
        np.testing.assert_array_equal(np.isnan(best.norm_bound), steep > 0.0)
        assert best.alpha == ALPHA and best.soundness == "sound" and best.num_samples == 3000


def test_a_curve_over_r_shares_its_bounds_and_the_dual_is_its_inverse():
    model = LinearPaths((3, 2), SHAPE)
    radii = (6.0, 8.0, 10.0)
    settings = {"key": KEY, "num_paths": PATHS}
    curve = bounds.margin_curve(
        None, model.decode, PICTURES, radii=radii, levels=model.levels, method="pathwise", alpha=3 * ALPHA, **settings
    )
    for radius, certificate in zip(radii, curve, strict=True):
        alone = certified(model, radius=radius)
        assert certificate.alpha == pytest.approx(ALPHA)
        np.testing.assert_allclose(certificate.radius, alone.radius, rtol=0.01)
    eps = float(curve[1].radius[0])
    dual = {
        factor: bounds.certified_reconstruction_radius(
            None, model.decode, PICTURES[:1], eps=factor * eps, levels=model.levels, method="pathwise", alpha=ALPHA,
            **settings,
        )
        for factor in (0.99, 1.02)
    }  # fmt: skip
    assert dual[0.99].radius[0] <= 8.0 < dual[1.02].radius[0]
    assert dual[0.99].soundness == "sound" and dual[0.99].num_samples == PATHS
    assert dual[0.99].required.tolist() == [0.5]


def test_bad_input_of_hierarchies_and_paths():
    model = LinearPaths((3, 2), SHAPE)
    settings = {"radius": RADIUS, "key": KEY}
    with pytest.raises(ValueError, match=r"'spectral' is for one latent layer, .* certified by pathwise"):
        bounds.certify(None, model.decode, PICTURES, levels=model.levels, **settings)
    with pytest.raises(ValueError, match="either encode"):
        bounds.certify(None, model.decode, PICTURES, method="pathwise", **settings)
    with pytest.raises(ValueError, match="num_paths = 5 can never certify"):
        certified(model, num_paths=5)
    with pytest.raises(ValueError, match=r"num_paths = 10 can never certify: at alpha = 0\.0005"):
        certified(model, method="best_sound", num_paths=10, num_samples=100, alpha=1e-3)
    with pytest.raises(ValueError, match="'spectral' is for one latent layer"):
        bounds.certified_reconstruction_radius(None, model.decode, PICTURES, eps=0.1, levels=model.levels, key=KEY)
    # Other depths than the functions given: decode reads two layers, and one is there.
    with pytest.raises(ValueError, match=r"decode .* arrays of shapes \(3,\)"):
        bounds.certify(None, model.decode, PICTURES, levels=model.levels[:1], method="pathwise", **settings)
    with pytest.raises(ValueError, match=r"levels\[0\] fails"):
        bounds.certify(None, model.decode, PICTURES, levels=model.levels[::-1], method="pathwise", **settings)
    with pytest.raises(ValueError, match="features are for the levels"):
        bounds.certify(
            lambda x: model.levels[0](x, ()), model.decode, PICTURES, features=jnp.ravel, method="pathwise", **settings
        )


def test_a_sigma_of_zero_or_a_mean_that_is_none_is_named_by_its_level():
    model = LinearPaths((3, 2), SHAPE)

    def flat(x, below):
        return DiagonalGaussian(model.levels[1](x, below).mean, jnp.full(2, -200.0))

    def broken(x, below):
        return DiagonalGaussian(jnp.log(x.reshape(-1)[:2] - 99.0), jnp.zeros(2))

    settings = {"radius": RADIUS, "key": KEY, "method": "pathwise"}
    for level, message in (
        (flat, r"levels\[1\] gives image 0 a standard deviation of 0"),
        (broken, "a mean that is N"),
    ):
        with pytest.raises(ValueError, match=message):
            bounds.certify(None, model.decode, PICTURES, levels=[model.levels[0], level], **settings)


def test_an_r_that_clean_draws_do_not_meet_abstains_and_says_the_least():
    model = LinearPaths((3, 2), SHAPE)
    rank = sufficient_hits(PATHS, ALPHA, 0.5)
    distances = np.stack([np.linalg.norm(noise_of(i, 5) @ model.of_noise.T, axis=1) for i in range(3)])
    least = np.sort(distances, axis=1)[:, rank - 1]
    with pytest.warns(UserWarning, match="not met by enough draws of 3 of 3") as seen:
        certificate = certified(model, radius=0.5)
    assert certificate.abstained.all() and (certificate.radius == 0.0).all()
    assert f"at least {least[0]:.4g} for image 0 and {least.max():.4g} for all" in str(seen[0].message)
    assert seen[0].filename == __file__ or "certify" in seen[0].filename
    assert not certified(model, radius=1.05 * least.max()).abstained.any()


def test_an_interrupted_hierarchy_goes_on_to_the_same_margins(tmp_path):
    model = LinearPaths((3, 2), SHAPE)
    settings = {
        "levels": model.levels, "radius": RADIUS, "key": KEY, "num_paths": PATHS, "alpha": ALPHA, "batch_size": 1,
        "methods": ("pathwise",),
    }  # fmt: skip
    whole = bounds.certify_dataset(None, model.decode, PICTURES, **settings)["pathwise"]
    store = storage.Folder(tmp_path)
    bounds.certify_dataset(None, model.decode, PICTURES[:2], store=store, **settings)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(kept) == 2
    # Another number of images is other work: all of it again, and then none.
    again = bounds.certify_dataset(None, model.decode, PICTURES, store=store, **settings)["pathwise"]
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    resumed = bounds.certify_dataset(None, model.decode, PICTURES, store=store, **settings)["pathwise"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == stamps
    for certificate in (again, resumed):
        np.testing.assert_array_equal(certificate.radius, whole.radius)


def test_features_are_read_once_and_change_no_margin():
    model = LinearPaths((3, 2), SHAPE)
    matrix = np.random.default_rng(5).normal(size=(9, PIXELS)).astype(np.float32)
    back = np.linalg.pinv(matrix).astype(np.float32)

    def of_features(level):
        return lambda f, below: level((back @ f).reshape(SHAPE), below)

    through = certified(model, features=None)
    featured = bounds.certify(
        None, model.decode, PICTURES, levels=[of_features(level) for level in model.levels], radius=RADIUS, key=KEY,
        features=lambda x: matrix @ x.reshape(-1), num_paths=PATHS, alpha=ALPHA, method="pathwise",
    )  # fmt: skip
    np.testing.assert_allclose(featured.radius, through.radius, rtol=1e-2)
