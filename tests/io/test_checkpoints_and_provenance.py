from __future__ import annotations

import hashlib
import json
import pickle
from importlib import metadata
from pathlib import Path

import pytest
import torch

from mcrgen.errors import InputError
from mcrgen.io.checkpoints import FORMAT, read_checkpoint
from mcrgen.io.provenance import provenance, sha256, write_json


class Dangerous:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code from a checkpoint ran')",)


def test_refusals(tmp_path: Path, checkpoint: Path) -> None:
    whole = checkpoint.read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.ckpt").write_text("weights")
    torch.save({"mcrgen": Dangerous()}, tmp_path / "code.ckpt")
    (tmp_path / "old.ckpt").write_bytes(pickle.dumps({"state_dict": {}}))
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    torch.save({"mcrgen": {"kind": "swnn", "format": FORMAT + 1}}, tmp_path / "new.ckpt")
    cases = {
        "none.ckpt": "no such file",
        "cut.ckpt": "truncated",
        "text.ckpt": "truncated or not a checkpoint",
        "code.ckpt": "could run code when loaded, and is refused",
        "old.ckpt": "truncated or not a checkpoint",
        "foreign.ckpt": "another program's checkpoint",
        "list.ckpt": "another program's checkpoint",
        "new.ckpt": f"format {FORMAT + 1}, this version reads up to {FORMAT}",
    }
    for name, message in cases.items():
        with pytest.raises(InputError, match=f"checkpoint: .*{message}"):
            read_checkpoint(tmp_path / name, "checkpoint")


def test_checkpoint_is_plain_data(checkpoint: Path) -> None:
    record = read_checkpoint(checkpoint, "checkpoint")["mcrgen"]
    assert record["kind"] == "swnn"
    assert record["phases"] == {"values": [0, 255], "phase": 1, "names": []}
    assert record["config"]["network"]["channels"] == 4
    assert record["versions"]["torch"] == metadata.version("torch")
    assert len(record["reference"]["s2"]) == 40
    assert sum(record["calibration"]["fractions"]) == pytest.approx(1)
    json.dumps(record)


def test_provenance(tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("data")
    assert sha256(file) == hashlib.sha256(b"data").hexdigest()
    write_json(tmp_path / "p.json", provenance("segment", {"a": 1}, {"photo": file}))
    stored = json.loads((tmp_path / "p.json").read_text())
    assert stored["inputs"]["photo"]["sha256"] == sha256(file)
    assert stored["config"] == {"a": 1}
    assert "numpy" in stored["versions"]
