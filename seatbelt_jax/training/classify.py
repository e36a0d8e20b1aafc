"""Trains a classifier on images or codes that fit into memory: the same key, the same parameters."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray
from tqdm import tqdm

from seatbelt_jax.metrics.classification import predict
from seatbelt_jax.models import Classifier

_INPUTS_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True)
class TrainedClassifier:
    """A classifier with its parameters; call it on inputs [batch, ...] for scores [batch, classes].

    Attributes:
      held_out_accuracy: share of the held-out inputs that it labels right.
    """

    classifier: Classifier
    parameters: Any
    held_out_accuracy: float

    def __call__(self, inputs: Float[Array | np.ndarray, "batch *input"]) -> Float[Array, "batch classes"]:
        return _logits(self.classifier, self.parameters, inputs)


def train_classifier(
    classifier: Classifier,
    inputs: Float[Array | np.ndarray, "example *input"],
    labels: Int[Array | np.ndarray, " example"],
    held_out_inputs: Float[Array | np.ndarray, "held_out *input"],
    held_out_labels: Int[Array | np.ndarray, " held_out"],
    *,
    key: PRNGKeyArray,
    epochs: int = 10,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    progress: bool = False,
) -> TrainedClassifier:
    """Minimises the cross-entropy by Adam, each epoch in a new order, its last partial batch dropped.

    Ten epochs of batches of 64 are those of Sootla 2018, Sec. 3.3, who has gradient descent with momentum of
    unknown step size in place of Adam.

    Args:
      inputs, labels: to train on; labels from 0.
      held_out_inputs, held_out_labels: to measure the accuracy on, once, at the end.
      key: of the parameters, the order and the dropout.
      epochs: passes over the inputs.
      batch_size: fewer where there are not as many inputs.
      learning_rate: Adam's.
      progress: whether a terminal sees a progress bar.

    Raises:
      ValueError: for inputs that are not the classifier's, labels that it has no class for, or settings that make no
        sense.
      ArithmeticError: where the loss is no longer finite.
    """
    inputs, labels = _check("inputs", classifier, inputs, labels)
    held_out_inputs, held_out_labels = _check("held_out_inputs", classifier, held_out_inputs, held_out_labels)
    inputs, labels = jax.device_put((inputs, labels))
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    if not 0.0 < learning_rate < np.inf:
        raise ValueError(f"learning_rate must be a positive number, got {learning_rate}")
    parameters, moments, order_key = _begin(classifier, learning_rate, key)
    batch_size = min(batch_size, len(inputs))
    for epoch in tqdm(range(epochs), desc="classifier", unit="epoch", disable=None if progress else True):
        batches = _batches(order_key, epoch, len(inputs), batch_size)
        for number in range(len(inputs) // batch_size):
            parameters, moments, loss = _step(
                classifier, parameters, moments, learning_rate, inputs, labels, batches, number
            )
        if not np.isfinite(loss):
            raise ArithmeticError(
                f"the classifier diverged in epoch {epoch + 1}: its loss is {loss}; lower the learning rate"
            )
    trained = TrainedClassifier(classifier, parameters, 0.0)
    right = predict(trained, held_out_inputs, _INPUTS_AT_ONCE) == held_out_labels
    return dataclasses.replace(trained, held_out_accuracy=float(np.mean(right)))


class _Batches(NamedTuple):
    """The examples of each step of an epoch, [step, batch], and the keys of their dropout, [step]."""

    chosen: Int[Array, "step batch"]
    keys: PRNGKeyArray


@functools.partial(jax.jit, static_argnums=0)
def _begin(classifier: Classifier, learning_rate: Float[Array, ""], key: PRNGKeyArray) -> tuple[Any, Any, PRNGKeyArray]:
    """Fresh parameters, Adam's moments, and the key of the order."""
    init_key, order_key = jax.random.split(key)
    parameters = classifier.init(init_key)
    return parameters, optax.adam(learning_rate).init(parameters), order_key


@functools.partial(jax.jit, static_argnums=(2, 3))
def _batches(order_key: PRNGKeyArray, epoch: Int[Array, ""], size: int, batch_size: int) -> _Batches:
    permutation_key, dropout_key = jax.random.split(jax.random.fold_in(order_key, epoch))
    steps = size // batch_size
    order = jax.random.permutation(permutation_key, size)[: steps * batch_size]
    return _Batches(order.reshape(steps, batch_size), jax.random.split(dropout_key, steps))


# One step a dispatch: XLA runs convolutions' gradients twenty times slower inside a loop of its own on a CPU.
@functools.partial(jax.jit, static_argnums=0)
def _step(
    classifier: Classifier,
    parameters: Any,
    moments: Any,
    learning_rate: Float[Array, ""],
    inputs: Array,
    labels: Array,
    batches: _Batches,
    number: Int[Array, ""],
) -> tuple[Any, Any, Float[Array, ""]]:
    chosen, key = batches.chosen[number], batches.keys[number]
    loss, gradient = jax.value_and_grad(_cross_entropy)(parameters, classifier, inputs[chosen], labels[chosen], key)
    updates, moments = optax.adam(learning_rate).update(gradient, moments)
    return optax.apply_updates(parameters, updates), moments, loss


def _cross_entropy(
    parameters: Any, classifier: Classifier, inputs: Array, labels: Array, key: PRNGKeyArray
) -> Float[Array, ""]:
    logits = classifier.logits(parameters, inputs, key)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


@functools.partial(jax.jit, static_argnums=0)
def _logits(classifier: Classifier, parameters: Any, inputs: Array) -> Float[Array, "batch classes"]:
    return classifier.logits(parameters, inputs)


def _check(
    name: str, classifier: Classifier, inputs: Any, labels: Any
) -> tuple[Float[np.ndarray, "example *input"], Int[np.ndarray, " example"]]:
    """Inputs and labels in the types of training, or what is wrong with them."""
    inputs, labels = np.asarray(inputs, np.float32), np.asarray(labels)
    if inputs.shape[1:] != tuple(classifier.input_shape) or not len(inputs):
        raise ValueError(
            f"{name} must be one or more of shape {tuple(classifier.input_shape)}, as the classifier takes them; got "
            f"shape {inputs.shape}"
        )
    if labels.shape != (len(inputs),) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"the labels of {name} must be {len(inputs)} whole numbers, got {labels.dtype} of shape {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= classifier.classes:
        raise ValueError(
            f"the classifier has classes 0 to {classifier.classes - 1}, but the labels of {name} go from "
            f"{labels.min()} to {labels.max()}"
        )
    return inputs, labels.astype(np.int32)
