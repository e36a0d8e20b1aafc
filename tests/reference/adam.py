"""Adam with an L2 penalty (Kingma and Ba 2015, Algorithm 1; PyTorch's `weight_decay`) in float64 NumPy."""

import numpy as np


def trajectory(gradient, start, *, steps, learning_rate, weight_decay, b1=0.9, b2=0.999, epsilon=1e-8):
    """The parameters after each step down `gradient(parameters)`."""
    parameters = np.array(start, np.float64)
    first, second, path = np.zeros_like(parameters), np.zeros_like(parameters), []
    for step in range(1, steps + 1):
        slope = gradient(parameters) + weight_decay * parameters
        first = b1 * first + (1 - b1) * slope
        second = b2 * second + (1 - b2) * slope**2
        parameters = parameters - learning_rate * (first / (1 - b1**step)) / (
            np.sqrt(second / (1 - b2**step)) + epsilon
        )
        path.append(parameters)
    return path
