"""How long a step of Muon takes for the hidden matrices of the `small` world model, one by one and in stacks.

    python benchmarks/muon_speed.py

torch's Muon and ours take turns, in one run; the ratio is that of their fastest steps, which other work on the machine
disturbs least.
"""

import time

import torch

from flam_env.models.factored import FactoredWorldModel
from flam_train.engine.muon import Muon
from flam_train.engine.plan import is_hidden_matrix
from flam_train.presets import SMALL

TURNS = 12


def hidden_matrices(device: torch.device) -> list[torch.nn.Parameter]:
    """Those of the `small` model, with random gradients."""
    torch.manual_seed(0)
    model = FactoredWorldModel(SMALL.world_model).to(device)
    matrices = [weight for name, weight in model.named_parameters() if is_hidden_matrix(name, weight)]
    for matrix in matrices:
        matrix.grad = torch.randn_like(matrix)
    return matrices


def seconds(optimizer: torch.optim.Optimizer, device: torch.device) -> float:
    """Of one step."""
    begin = time.perf_counter()
    optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def main() -> None:
    """Prints both times and their ratio."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settings = {"lr": 1e-3, "weight_decay": 0.01}
    one_by_one = torch.optim.Muon(hidden_matrices(device), adjust_lr_fn="match_rms_adamw", **settings)
    stacked = Muon(matrices := hidden_matrices(device), **settings)
    times = [(seconds(one_by_one, device), seconds(stacked, device)) for _ in range(TURNS)]
    one, all_at_once = (min(each) for each in zip(*times[2:], strict=True))
    shapes = len({matrix.shape for matrix in matrices})
    print(f"{device}, {torch.get_num_threads()} threads, {len(matrices)} matrices of {shapes} shapes")
    print(f"one by one {1e3 * one:.2f} ms, stacked {1e3 * all_at_once:.2f} ms: {one / all_at_once:.2f} times as fast")


if __name__ == "__main__":
    main()
