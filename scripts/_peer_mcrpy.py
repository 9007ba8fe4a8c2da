"""Drive MCRpy in an interpreter of its own: time its loss and gradient, or let it reconstruct for a given time.

    PEER/bin/python scripts/_peer_mcrpy.py REQUEST.json ANSWER.json

Started by scripts/_peers.py, which says what the two files hold. Knows nothing of mcrgen, which is not installed there.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import tensorflow as tf

NEVER = 10**9


class TimeUpError(Exception):
    """The level of the grid has had its time, or there are evaluations enough."""


class Recorder:
    """Stands around MCRpy's optimiser: counts and times its evaluations, ends it in time, and keeps the best medium it came by.

    With a time limit T the level with 2^-l of the full edge ends at 2^-l T, so that half the time is left to the finest one.
    """

    def __init__(self, optimizer: Any, request: dict[str, Any]) -> None:
        self.original_optimize, self.original_step = optimizer.optimize, optimizer.step
        self.repeats, self.limit, self.edge = request["evaluations"], request["seconds"], request["edge"]
        self.begin = time.perf_counter()
        self.deadline = self.best_loss = float("inf")
        self.direct: list[float] = []
        self.cpu: list[float] = []
        self.starts: list[float] = []
        self.losses: list[float] = []

    def optimize(self, optimizer: Any, medium: Any, restart_from_niter: int | None = None) -> int:
        """In place of the optimiser's method of that name; the medium is left at the lowest loss of this level."""
        if self.limit is None:
            self.time_directly(optimizer, medium)
        else:
            self.deadline = self.begin + self.limit * medium.spatial_shape[0] / self.edge
        self.best_loss, self.best = float("inf"), medium.x.numpy()
        self.starts = []  # of the finest level in the end
        with suppress(TimeUpError):
            self.original_optimize(optimizer, medium, restart_from_niter)
        medium.x.assign(self.best)
        return int(optimizer.n_iter)

    def time_directly(self, optimizer: Any, medium: Any) -> None:
        """Loss and gradient, read back as the optimiser does; the first call traces the graph and is not counted."""
        for _ in range(self.repeats + 1):
            start, start_cpu = time.perf_counter(), time.process_time()
            loss, gradients = optimizer.call_loss(medium)
            loss.numpy(), gradients[0].numpy()
            self.direct.append(time.perf_counter() - start)
            self.cpu.append(time.process_time() - start_cpu)

    def step(self, optimizer: Any, x: Any) -> Any:
        """In place of the optimiser's method of that name: one evaluation, and at least one."""
        count = len(self.starts)
        if (self.limit is None and count > self.repeats) or (count and time.perf_counter() > self.deadline):
            raise TimeUpError
        self.starts.append(time.perf_counter())
        loss, gradient = self.original_step(optimizer, x)
        self.losses.append(float(loss[0]))
        if self.losses[-1] < self.best_loss:
            self.best_loss, self.best = self.losses[-1], x.reshape(optimizer.desired_shape_extended).copy()
        return loss, gradient


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Let MCRpy match the image, with its own defaults for all that the request does not name."""
    import mcrpy
    from mcrpy.optimizers.SPOptimizer import SPOptimizer

    np.random.seed(request["seed"])
    labels = np.load(request["image"]).astype(np.float64)
    multiphase = bool(labels.max() > 1)
    settings = mcrpy.MatchingSettings(
        descriptor_types=request["descriptors"],
        limit_to=request["limit"],
        max_iter=NEVER,
        use_multigrid_reconstruction=request["multigrid"],
        use_multiphase=multiphase,
        convergence_data_steps=NEVER,
        logging_level=30,
    )
    recorder = Recorder(SPOptimizer, request)
    with (
        patch.object(SPOptimizer, "optimize", lambda *a, **k: recorder.optimize(*a, **k)),
        patch.object(SPOptimizer, "step", lambda *a: recorder.step(*a)),
    ):
        medium = mcrpy.match(
            mcrpy.Microstructure(labels, use_multiphase=multiphase), add_dimension=request["depth"], settings=settings
        )[2]
    if request["volume"] is not None:
        np.save(request["volume"], medium.decode_phases().astype(np.uint8))
    return {
        "versions": {"mcrpy": mcrpy.__version__, "tensorflow": tf.__version__, "numpy": np.__version__},
        "direct_seconds": recorder.direct[1:],
        "cpu_seconds": recorder.cpu[1:],
        "optimiser_seconds": np.diff(recorder.starts).tolist(),
        "evaluations": len(recorder.losses),
        "first_loss": recorder.losses[-len(recorder.starts)],
        "best_loss": recorder.best_loss,
        "total_seconds": time.perf_counter() - recorder.begin,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    request_path, answer_path = map(Path, sys.argv[1:])
    request = json.loads(request_path.read_text())
    tf.config.threading.set_intra_op_parallelism_threads(request["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(request["threads"])
    answer_path.write_text(json.dumps(answer(request)))


if __name__ == "__main__":
    main()
