"""Measures of attacks in plain float64 Python, one attack at a time, straight from their definitions."""

import itertools
import math


def auddc(norms, errors, apart, source_error, target_error):
    """The area under one pair's distortion-distortion curve (Gondim-Ribeiro et al. 2018)."""
    points = []
    for norm, error in zip(norms, errors, strict=True):
        x = norm / apart
        y = (error - target_error) / (source_error - target_error)
        if 0.0 <= x <= 1.0:
            points.append((x, y))
    points.sort(key=lambda point: (point[0], -point[1]))
    least = min(y for _, y in points)
    points += [(points[-1][0], least), (1.0, least)]
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        area += 0.5 * (y0 + y1) * (x1 - x0)
    return area


def shown_budget(deltas, budgets):
    """The index of one pair's attack just better than its mean (Willetts et al. 2019); of ties, the largest budget."""
    finite = [k for k, delta in enumerate(deltas) if math.isfinite(delta)]
    if not finite:
        return max(range(len(budgets)), key=lambda k: budgets[k])
    mean = sum(deltas[k] for k in finite) / len(finite)
    better = [k for k in finite if deltas[k] < mean] or finite
    return max(better, key=lambda k: (deltas[k], budgets[k]))


def beaten(budgets, distances, norms, largest, threat, by):
    """One pair's flags: whether some other attack's distortion scores lower here, by the share `by`."""
    flags = []
    for budget, own_distance, own_norm in zip(budgets, distances, norms, strict=True):
        cost = {"penalty": budget * own_norm, "squared_penalty": budget * own_norm**2}.get(threat, 0.0)
        own = own_distance + cost
        found = False
        for distance, norm, peak in zip(distances, norms, largest, strict=True):
            if threat == "penalty":
                score = distance + budget * norm
            elif threat == "squared_penalty":
                score = distance + budget * norm**2
            else:
                size = norm if threat == "l2_ball" else peak
                score = distance if size <= budget else math.inf
            found = found or score < own - by * abs(own)
        flags.append(found)
    return flags


def success_rates(attacked, clean, source_labels, target_labels, num_classes):
    """Both success measures at one budget: {name: (matrix as nested lists, mean over cells, mean over pairs)}."""
    answer = {}
    for name in ("ignore_target", "target"):
        cells = {}
        for label, right, source, target in zip(attacked, clean, source_labels, target_labels, strict=True):
            if right != source or source == target:
                continue
            won = label != source if name == "ignore_target" else label == target
            cells.setdefault((source, target), []).append(float(won))
        matrix = [[math.nan] * num_classes for _ in range(num_classes)]
        for (source, target), wins in cells.items():
            matrix[source][target] = sum(wins) / len(wins)
        over_labels = sum(sum(wins) / len(wins) for wins in cells.values()) / len(cells)
        everything = [won for wins in cells.values() for won in wins]
        answer[name] = (matrix, over_labels, sum(everything) / len(everything))
    return answer
