from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import TINY

from mcrgen.cli import COMMANDS, main, parse
from mcrgen.commands import generate, train


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for name, summary in COMMANDS.items():
        assert name in printed
        assert summary in printed


@pytest.mark.parametrize("args", [["--help"], ["doctor", "--help"]])
def test_a_reader_that_goes_away_is_no_error(args: list[str]) -> None:
    """As of `mcrgen --help | head -1`."""
    command = [sys.executable, "-m", "mcrgen", *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141  # as of a program that SIGPIPE ends


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_from_its_dataclass(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: mcrgen {name}" in printed
    assert "--config FILE" in printed


def help_of(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The help without its frames and line breaks."""
    with pytest.raises(SystemExit):
        main([*args, "--help"])
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize("args", [[name] for name in COMMANDS] + [["train", "--method", "wgan_gp"]], ids=" ".join)
def test_no_help_shows_none_or_an_empty_default(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    printed = help_of(args, capsys)
    assert not [noise for noise in ("{None", "default: None", "default: )") if noise in printed]


def test_help_keeps_what_does_say_something(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("data: {phase: 3, phase_names: [pore, grain]}")
    printed = help_of(["train", "--config", str(tmp_path / "c.yaml")], capsys)
    assert (
        "--data.phase INT Value of the phase of interest in the image; its highest value if not given. (default: 3)" in printed
    )
    assert "(default: pore grain)" in printed
    assert "to judge: one or more. (required)" in help_of(["compare"], capsys)
    printed = help_of(["generate"], capsys)
    assert "--size N|D H W Edge length" in printed
    assert "--region 2=3. (repeatable)" in printed


def test_an_optional_option_takes_its_value_or_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("data: {phase: 3}")
    file = ["--config", str(tmp_path / "c.yaml")]
    phases = [
        parse("train", train.run, [*file, *flag]).data.phase for flag in ([], ["--data.phase", "5"], ["--data.phase", "None"])
    ]
    assert phases == [3, 5, None]
    sizes = [parse("generate", generate.run, ["a", "b", "--size", *size]).size for size in (["8"], ["8", "9", "7"], ["None"])]
    assert sizes == [(8,), (8, 9, 7), None]
    with pytest.raises(SystemExit) as stop:
        parse("train", train.run, ["--data.phase", "grain"])
    assert stop.value.code == 2
    assert "expected INT, got 'grain'." in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mcrgen 0.")


def test_config_file_and_flags(image: Path, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    sections: dict[str, list[str]] = {}
    for setting in TINY:
        key, value = setting.split("=")
        section, name = key.split(".")
        sections.setdefault(section, []).append(f"  {name}: {value}")
    file.write_text("\n".join(f"{s}:\n" + "\n".join(lines) for s, lines in sections.items()))
    run = tmp_path / "run"
    flags = ["--config", str(file), "--data.image", str(image), "--output", str(run), "--trainer.max-steps", "2"]
    assert main(["train", *flags]) == 0
    assert main(["generate", str(run / "model.ckpt"), str(tmp_path / "v.npy"), "--size", "8", "9", "10"]) == 0
    assert np.load(tmp_path / "v.npy").shape == (8, 9, 10)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["trian"], "unknown command 'trian'; perhaps 'train' is meant."),
        (["generate", "none.ckpt", "v.tif"], "checkpoint: no such file 'none.ckpt'; check the path."),
        (["train", "--config"], "config: expected a file after --config, got nothing."),
        (
            ["train", "--config", "a.yaml", "--config=b.yaml"],
            "config: expected one file, got a.yaml and b.yaml; merge them into one.",
        ),
        (["train", "--config", "none.yaml"], "config: no such file 'none.yaml'; check the path."),
    ],
)
def test_bad_input_is_one_sentence_and_code_two(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    printed = capsys.readouterr()
    assert printed.err.strip() == f"mcrgen: {message}"
    assert printed.out == ""


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["generate", "a.ckpt", "v.tif", "--sise", "3"], "--size"),
        (["train", "--data.imge", "x.tif"], "--data.image"),
        (["generate", "a.ckpt", "v.tif", "--size", "big"], "INT"),
    ],
)
def test_bad_flags_are_code_two_with_a_hint(args: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    assert hint in capsys.readouterr().err


def test_a_full_disk_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/rock/last.ckpt")

    monkeypatch.setattr("mcrgen.cli._run", full)
    assert main(["train"]) == 2
    assert capsys.readouterr().err.startswith("mcrgen: No space left on device: 'runs/rock/last.ckpt'; free some space")


def test_no_traceback_from_the_shell(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    done = subprocess.run(
        [sys.executable, "-m", "mcrgen", "train", "--data.image", str(tmp_path / "broken.png")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
