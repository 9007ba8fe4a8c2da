"""The weights of the best step so far, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import ModelCheckpoint


class BestCheckpoint(ModelCheckpoint):
    """Keeps the weights of the step at which a metric was smallest; a resumed run goes on comparing, also in a moved folder."""

    def __init__(self, path: Path, metric: str) -> None:
        """Keep the best in ``path`` (``.ckpt``), by ``metric`` as logged, whenever that is logged."""
        super().__init__(
            dirpath=path.parent,
            filename=path.stem,
            monitor=metric,
            every_n_train_steps=1,
            save_weights_only=True,
            enable_version_counter=False,
        )
        self.path = self.format_checkpoint_name({})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best score, for the file where it is now."""
        path = self.path if state_dict["best_model_path"] else ""
        scores = {path: state_dict["best_model_score"]} if path else {}
        here = {"dirpath": self.dirpath, "best_model_path": path, "kth_best_model_path": path, "best_k_models": scores}
        super().load_state_dict(state_dict | here)
