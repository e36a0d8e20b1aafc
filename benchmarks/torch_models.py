"""The paper's networks and objective in eager PyTorch: the reference of bench_train_step.

Written as public PyTorch implementations are: NCHW images, nn.Sequential, and the total correlation from one array
[batch, batch, latent] of log densities. It computes the same numbers as `seatbelt_jax` from the same parameters;
PyTorch is no dependency of the project, and only the benchmark imports this file.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seatbelt_jax.models import ModelConfig
from seatbelt_jax.training.objective import ObjectiveConfig

_LOG_2PI = math.log(2.0 * math.pi)

Terms = dict[str, Tensor]
Convert = Callable[[np.ndarray], np.ndarray]


class Head(nn.Module):
    """Mean and log_std of a diagonal Gaussian, after hidden layers of one width."""

    def __init__(self, inputs: int, latent_size: int, hidden_size: int = 0, hidden_layers: int = 0):
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(hidden_layers):
            layers += [nn.Linear(inputs, hidden_size, bias=False), nn.BatchNorm1d(hidden_size)]
            layers += [nn.LeakyReLU(0.01, inplace=True)]
            inputs = hidden_size
        self.hidden = nn.Sequential(*layers)
        self.mean = nn.Linear(inputs, latent_size)
        self.log_std = nn.Linear(inputs, latent_size)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.hidden(inputs)
        return self.mean(hidden), self.log_std(hidden)


class HierarchicalVAE(nn.Module):
    """The conv network of Willetts et al. 2021, App. G, with its hierarchy; one layer is a beta-TCVAE.

    Args:
      model: what the JAX model was built from: network "conv", all layers normalised and read by the decoder, a
        learned standard deviation and a Gaussian likelihood.
      image_shape: (height, width, channels), the height 4 * 2^stages of the widths.

    Raises:
      ValueError: for a model that this reference does not have.
    """

    def __init__(self, model: ModelConfig, image_shape: tuple[int, int, int]):
        super().__init__()
        _check(model, image_shape)
        self.latent_sizes = model.latent_sizes
        self.likelihood_std = model.likelihood_std
        self.encoder = _encoder(image_shape[-1], model.widths, model.feature_size)
        self.decoder = _decoder(sum(model.latent_sizes), model.feature_size, model.widths[::-1], image_shape[-1])
        self.bottom_posterior = Head(model.feature_size, model.latent_sizes[0])
        transitions = list(zip(model.latent_sizes[:-1], model.latent_sizes[1:], model.hidden_sizes, strict=False))
        self.upper_posteriors = nn.ModuleList(
            Head(lower + model.feature_size, upper, hidden, 2) for lower, upper, hidden in transitions
        )
        self.conditionals = nn.ModuleList(Head(upper, lower, hidden, 2) for lower, upper, hidden in transitions)

    def forward(self, images: Tensor, noise: Sequence[Tensor], dataset_size: int) -> Terms:
        """Every term of the objective per image, in nats; images NCHW, noise one array for each layer."""
        features = self.encoder(images)
        posteriors = [self.bottom_posterior(features)]
        latents = [_sample(*posteriors[0], noise[0])]
        for head, layer_noise in zip(self.upper_posteriors, noise[1:], strict=True):
            posteriors.append(head(torch.cat([latents[-1], features], dim=1)))
            latents.append(_sample(*posteriors[-1], layer_noise))
        decoded = self.decoder(torch.cat(latents, dim=1))
        terms = {"log_likelihood": _log_likelihood(decoded, images, self.likelihood_std)}
        for layer, (head, z) in enumerate(zip(self.conditionals, latents, strict=False)):
            log_std = posteriors[layer][1]
            entropy = (log_std + 0.5 * (_LOG_2PI + 1.0)).sum(1)
            terms[f"kl_{layer + 1}"] = -entropy - _log_density(z, *head(latents[layer + 1])).sum(1)
        mean, log_std = posteriors[-1]
        terms[f"kl_{len(latents)}"] = 0.5 * (mean.square() + (2.0 * log_std).exp() - 1.0 - 2.0 * log_std).sum(1)
        terms["total_correlation"] = _total_correlation(latents[-1], mean, log_std, dataset_size)
        return terms


def loss(terms: Terms, objective: ObjectiveConfig) -> Tensor:
    """The negative of ELBO - (beta - 1) TC with free bits, its mean over the batch."""
    value = terms["log_likelihood"] - (objective.beta - 1.0) * terms["total_correlation"]
    for name, term in terms.items():
        if name.startswith("kl_"):
            free = term.mean() < objective.free_bits
            value = value - torch.where(free, torch.full_like(term, objective.free_bits), term)
    return -value.mean()


def from_flax(network: HierarchicalVAE, tree: Mapping[str, Any]) -> dict[str, Tensor]:
    """Flax parameters, or their gradients, under the network's own names and in its layouts."""
    found: dict[str, Tensor] = {}
    for name, leaves, convert in _pairs(network, tree):
        weight = np.asarray(leaves.get("kernel", leaves.get("scale")))
        found[f"{name}.weight"] = torch.tensor(convert(weight))
        if "bias" in leaves:
            found[f"{name}.bias"] = torch.tensor(np.asarray(leaves["bias"]))
    return found


def _encoder(channels: int, widths: Sequence[int], feature_size: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise((channels, *widths)):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    features = nn.Linear(16 * widths[-1], feature_size, bias=False)
    return nn.Sequential(*layers, nn.Flatten(), features, nn.BatchNorm1d(feature_size), nn.ReLU(inplace=True))


def _decoder(latents: int, feature_size: int, widths: Sequence[int], channels: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(latents, feature_size, bias=False), nn.BatchNorm1d(feature_size)]
    layers += [nn.ReLU(inplace=True), nn.Linear(feature_size, 16 * widths[0], bias=False)]
    layers += [nn.Unflatten(1, (widths[0], 4, 4))]
    last = len(widths) - 1
    for stage, (inputs, outputs) in enumerate(itertools.pairwise((*widths, channels))):
        layers += [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)]
        # Only the last stage is not normalised after.
        layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=stage == last)]
    return nn.Sequential(*layers)


def _sample(mean: Tensor, log_std: Tensor, noise: Tensor) -> Tensor:
    return mean + log_std.exp() * noise


def _log_density(z: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    return -0.5 * (((z - mean) * (-log_std).exp()).square() + _LOG_2PI) - log_std


def _log_likelihood(decoded: Tensor, images: Tensor, std: float) -> Tensor:
    log_normaliser = math.log(std) + 0.5 * _LOG_2PI
    return (-0.5 * ((images - decoded) / std).square() - log_normaliser).flatten(1).sum(1)


def _total_correlation(z: Tensor, mean: Tensor, log_std: Tensor, dataset_size: int) -> Tensor:
    """log q(z) - sum_k log q(z_k) by minibatch weighted sampling (Willetts et al. 2021, Eq. 35, 43)."""
    log_density = _log_density(z[:, None], mean[None], log_std[None])
    log_weight = -math.log(dataset_size * len(z))
    log_joint = torch.logsumexp(log_density.sum(2) + log_weight, dim=1)
    return log_joint - torch.logsumexp(log_density + log_weight, dim=1).sum(1)


def _pairs(network: HierarchicalVAE, tree: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Convert]]:
    """(our name, Flax's leaves, what turns its kernel into our weight) of every layer with parameters."""
    for block in ("encoder", "decoder"):
        yield from _in_sequential(block, getattr(network, block), tree[block])
    for name, head in network.named_modules():
        if isinstance(head, Head):
            # Flax numbers a list's modules with an underscore.
            leaves = tree[name.replace(".", "_")]
            yield from _in_sequential(f"{name}.hidden", head.hidden, leaves)
            for output in ("mean", "log_std"):
                yield f"{name}.{output}", leaves[output], np.transpose


def _in_sequential(
    prefix: str, layers: nn.Sequential, tree: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any], Convert]]:
    """Flax numbers the layers of a module by their kind."""
    count: Counter[str] = Counter()
    neighbours = [None, *layers, None]
    for index, (before, layer, after) in enumerate(zip(neighbours, layers, neighbours[2:], strict=False)):
        convert: Convert
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            kind, convert = "Normalise", np.copy
        elif isinstance(layer, nn.Linear):
            from_image = _dense_from_image if isinstance(before, nn.Flatten) else np.transpose
            kind, convert = "Dense", _dense_to_image if isinstance(after, nn.Unflatten) else from_image
        elif isinstance(layer, nn.Conv2d):
            kind, convert = "Conv", _convolution
        elif isinstance(layer, nn.ConvTranspose2d):
            kind, convert = "ConvTranspose", _transposed_convolution
        else:
            continue
        leaves = tree[f"{kind}_{count[kind]}"]
        count[kind] += 1
        yield f"{prefix}.{index}", leaves.get("BatchNorm_0", leaves), convert


def _dense_from_image(kernel: np.ndarray) -> np.ndarray:
    """[height width channels, out] to [out, channels height width]."""
    return np.moveaxis(kernel.reshape(4, 4, -1, kernel.shape[-1]), 2, 0).reshape(kernel.shape).T


def _dense_to_image(kernel: np.ndarray) -> np.ndarray:
    """[in, height width channels] to [channels height width, in]."""
    return np.moveaxis(kernel.reshape(*kernel.shape[:-1], 4, 4, -1), -1, -3).reshape(kernel.shape).T


def _convolution(kernel: np.ndarray) -> np.ndarray:
    return kernel.transpose(3, 2, 0, 1)


def _transposed_convolution(kernel: np.ndarray) -> np.ndarray:
    """Flax correlates the dilated image with the kernel as it is, PyTorch with the flipped one."""
    return kernel[::-1, ::-1].transpose(2, 3, 0, 1).copy()


def _check(model: ModelConfig, image_shape: tuple[int, int, int]) -> None:
    size = 4 * 2 ** len(model.widths)
    if image_shape[:2] != (size, size):
        raise ValueError(f"widths {model.widths} take images of {size} x {size}, got {image_shape}")
    wanted = {
        "network": "conv",
        "decoder_reads": "all",
        "batch_norm": True,
        "likelihood": "gaussian",
        "discrete_sizes": (),
        "posterior_std": 0.0,
        "posterior_std_offset": 0.0,
    }
    for name, value in wanted.items():
        if getattr(model, name) != value:
            raise ValueError(f"the PyTorch reference has model.{name} = {value!r} alone, got {getattr(model, name)!r}")
