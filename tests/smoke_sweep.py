"""The sweep of configs/sweeps/smoke.py, and what tests change of it."""

from configs.sweeps import smoke

FILE = "--sweep=configs/sweeps/smoke.py"
CELLS = ["beta_vae_beta1", "beta_vae_beta4", "seatbelt_beta1", "seatbelt_beta4"]


def config(**changes):
    found = smoke.get_config().to_dict()
    for name, values in changes.items():
        found[name] = {**found.get(name, {}), **values} if isinstance(values, dict) else values
    return found
