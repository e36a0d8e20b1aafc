"""Downstream accuracy under attack on planted labels, and the classifiers that it is measured with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import metrics, models, training
from tests import annotations
from tests.compilations import counted


def by_first(inputs):
    return np.asarray(inputs).reshape(len(inputs), -1)[:, 0].astype(int)


def codes(labels):
    """Codes whose first coordinate is what `by_first` will say."""
    return np.stack([labels, np.zeros(len(labels))], axis=1).astype(np.float32)


@pytest.mark.parametrize("classify", [by_first, lambda inputs: np.eye(5)[by_first(inputs)]])
def test_accuracies_on_planted_labels(classify):
    source, target = np.array([0, 0, 1, 1]), np.array([1, 2, 2, 3])
    found = metrics.downstream_accuracy(
        # Right, right, right, wrong when clean; attacked: stays, to the target, elsewhere, elsewhere but right.
        *(classify, codes([0, 0, 1, 4]), codes([0, 2, 0, 1]), source, target),
        batch_size=3,
    )
    np.testing.assert_array_equal(found.clean, [True, True, True, False])
    np.testing.assert_array_equal(found.attacked, [True, False, False, True])
    np.testing.assert_array_equal(found.targeted, [False, True, False, False])
    expected = {"accuracy_clean": 0.75, "accuracy_attacked": 0.5, "accuracy_change": -0.25, "targeted_success": 0.25}
    assert found.rates() == expected


@annotations.unchecked()
def test_pairs_that_do_not_fit_are_refused():
    source, target = np.array([0, 1]), np.array([1, 2])
    with pytest.raises(ValueError, match="1 of 2 pairs have a target of the source's own label"):
        metrics.downstream_accuracy(by_first, codes(source), codes(source), source, np.array([0, 2]))
    with pytest.raises(ValueError, match=r"got \(2, 2\) and \(1, 2\)"):
        metrics.downstream_accuracy(by_first, codes(source), codes([0]), source, target)
    with pytest.raises(ValueError, match="target_labels must hold one label for each of the 2 pairs"):
        metrics.downstream_accuracy(by_first, codes(source), codes(source), source, target[:1])
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        metrics.downstream_accuracy(by_first, codes(source), codes(source), source, target, batch_size=0)


def blobs(count, seed, shape=(2,), spread=0.3):
    """Three classes at corners of a triangle, in the first two numbers of each input."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=count)
    inputs = rng.normal(scale=spread, size=(count, *shape)).astype(np.float32)
    inputs.reshape(count, -1)[:, :2] += np.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])[labels]
    return inputs, labels


def bars(count, seed, side=16):
    """Horizontal and vertical bars at random places, in noise: no single pixel tells which."""
    rng = np.random.default_rng(seed)
    labels, places = rng.integers(2, size=count), rng.integers(side, size=count)
    images = rng.normal(scale=0.2, size=(count, side, side, 1)).astype(np.float32)
    for image, label, place in zip(images, labels, places, strict=True):
        image[(place, slice(None)) if label else (slice(None), place)] += 1.0
    return images, labels


def test_an_mlp_learns_classes_that_can_be_told_apart():
    classifier = models.Classifier("mlp", (2,), 3)
    trained = training.train_classifier(classifier, *blobs(600, 0), *blobs(300, 1), key=jax.random.key(0), epochs=5)
    inputs, labels = blobs(300, 1)
    assert trained.held_out_accuracy > 0.99
    assert np.mean(np.argmax(trained(inputs), axis=1) == labels) == pytest.approx(trained.held_out_accuracy)


def test_labels_without_a_cause_are_not_learnt():
    """The accuracy is on held-out inputs: what is learnt by heart does not count."""
    (inputs, _), (held_out, _) = blobs(200, 0, shape=(60,), spread=1.0), blobs(200, 1, shape=(60,), spread=1.0)
    labels = np.random.default_rng(5).integers(3, size=400)
    trained = training.train_classifier(
        *(models.Classifier("mlp", (60,), 3), inputs, labels[:200], held_out, labels[200:]),
        key=jax.random.key(0),
        epochs=30,
    )
    assert np.mean(np.argmax(trained(inputs), axis=1) == labels[:200]) > 0.9
    assert abs(trained.held_out_accuracy - 1 / 3) < 4.0 * np.sqrt(2 / 9 / 200)


@pytest.mark.parametrize("architecture", ["conv", "sootla"])
def test_convolutional_classifiers_tell_bars_apart(architecture, monkeypatch):
    # Programs that are not optimised, as tests have them, take a second a step at the full widths.
    monkeypatch.setattr("seatbelt_jax.models.classifier._CONV_WIDTHS", (8, 8, 8))
    classifier = models.Classifier(architecture, (16, 16, 1), 2)
    trained = training.train_classifier(
        classifier, *bars(512, 0), *bars(200, 1), key=jax.random.key(0), epochs=6, batch_size=32, learning_rate=3e-3
    )
    assert trained.held_out_accuracy > 0.95


def test_the_same_key_gives_the_same_classifier():
    def train(key):
        return training.train_classifier(
            models.Classifier("sootla", (16, 16, 1), 2), *bars(64, 0), *bars(8, 1), key=jax.random.key(key), epochs=1
        ).parameters

    one, again = train(0), train(0)
    with counted() as programs:
        other = train(1)
    assert not programs
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert not np.array_equal(jax.tree.leaves(one)[-1], jax.tree.leaves(other)[-1])


def test_sootlas_classifier_has_the_layers_of_the_table():
    """Sootla 2018, Table 3.2: 5x5 convolutions to 10 channels, dense layers of 50 and 10; dropout in training alone."""
    classifier = models.Classifier("sootla", (32, 32, 1), 10)
    parameters = classifier.init(jax.random.key(0))
    shapes = sorted(leaf.shape for leaf in jax.tree.leaves(parameters) if leaf.ndim > 1)
    assert shapes == [(5, 5, 1, 10), (5, 5, 10, 10), (50, 10), (250, 50)]
    images = jnp.ones((2, 32, 32, 1))
    keys = jax.random.split(jax.random.key(1))
    calm = [classifier.logits(parameters, images) for _ in keys]
    dropped = [classifier.logits(parameters, images, key) for key in keys]
    np.testing.assert_array_equal(*calm)
    assert np.any(np.asarray(dropped[0]) != np.asarray(dropped[1]))


def test_what_classifiers_refuse():
    with pytest.raises(ValueError, match="architecture must be one of mlp, conv, sootla; got 'resnet'"):
        models.Classifier("resnet", (2,), 3)
    with pytest.raises(ValueError, match="reads images of 8x8 pixels or more"):
        models.Classifier("conv", (2,), 3)
    with pytest.raises(ValueError, match="input_shape must be a tuple"):
        models.Classifier("mlp", [2], 3)
    with pytest.raises(ValueError, match="classes must be at least 2"):
        models.Classifier("mlp", (2,), 1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"inputs": np.zeros((5, 3))}, r"inputs must be one or more of shape \(2,\)"),
        ({"labels": np.zeros(5)}, "must be 5 whole numbers, got float64"),
        ({"labels": np.array([0, 1, 2, 3, 0])}, "classes 0 to 2, but the labels of inputs go from 0 to 3"),
        ({"held_out_labels": np.zeros(4, int)}, "held_out_inputs must be 5 whole numbers"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"learning_rate": -1.0}, "learning_rate must be a positive number"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(changed, message):
    given = {
        "inputs": np.zeros((5, 2)),
        "labels": np.zeros(5, int),
        "held_out_inputs": np.zeros((5, 2)),
        "held_out_labels": np.zeros(5, int),
        "key": jax.random.key(0),
    }
    with pytest.raises(ValueError, match=message):
        training.train_classifier(models.Classifier("mlp", (2,), 3), **(given | changed))


def test_a_classifier_that_diverges_says_so():
    inputs, labels = blobs(64, 0)
    with pytest.raises(ArithmeticError, match="diverged in epoch 1"):
        training.train_classifier(
            models.Classifier("mlp", (2,), 3), inputs * np.inf, labels, inputs, labels, key=jax.random.key(0)
        )
