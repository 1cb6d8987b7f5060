"""What an environment brings along and can't be used: nothing here needs it, so nothing here stops for it."""

import importlib.util
import os
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError, version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from foundation import broken_packages
from foundation.broken_packages import set_aside_broken_packages
from lightning_modules.lora.adapter import adapter_of
from lightning_modules.lora.layers import LoraOptions
from lightning_modules.lora.writing import write_adapter
from tests.tiny_adapters import learned_unet

ROOT = Path(__file__).parents[2]


def install(site: Path, name: str, version: str, code: str = "") -> None:
    """A package as pip would leave it."""
    (site / name).mkdir(parents=True)
    (site / name / "__init__.py").write_text(code)
    (site / f"{name}-{version}.dist-info").mkdir()
    (site / f"{name}-{version}.dist-info" / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    )


def test_a_package_that_cannot_be_imported_counts_as_absent_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "made_for_another_torch", "1.0", "raise RuntimeError('operator nms does not exist')")
    install(tmp_path, "lacks_a_library", "1.0", "raise OSError('libcudart.so.11.0: cannot open')")
    install(tmp_path, "sound", "1.0", "answer = 42")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ("made_for_another_torch", "lacks_a_library", "sound", "not_installed")
    monkeypatch.setattr(Distribution, "from_name", Distribution.from_name)  # as before, afterwards
    with pytest.warns(UserWarning, match="installed but can't be imported") as said:
        set_aside_broken_packages(names)
    try:
        assert len(said) == 2
        assert "(RuntimeError: operator nms does not exist). It counts as absent" in str(said[0].message)
        assert "(OSError: libcudart.so.11.0: cannot open)" in str(said[1].message)
        assert [name for name in names if importlib.util.find_spec(name)] == ["sound"]
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("lacks_a_library")
        assert importlib.import_module("sound").answer == 42
        assert version("sound") == "1.0"
        for name in ("made-for-another-torch", "lacks_a_library"):
            with pytest.raises(PackageNotFoundError):
                version(name)
        set_aside_broken_packages(names)  # nothing is said twice
    finally:
        for name in names:
            sys.modules.pop(name, None)


def test_an_adapter_is_exported_where_such_packages_are_installed(tiny_base: Path, tmp_path: Path) -> None:
    """Colab's torchao 0.10, which peft refuses, and the usual wrecks; a stock pipeline loads the adapter, too."""
    site = tmp_path / "site"
    install(site, "torchao", "0.10.0")
    install(site, "torchvision", "0.26.0", "raise RuntimeError('operator torchvision::nms does not exist')")
    install(site, "xformers", "0.0.35", "raise ImportError('undefined symbol: _ZN3c10')")
    install(site, "bitsandbytes", "0.48.0", "raise OSError('libcudart.so.11.0: cannot open')")
    install(site, "eetq", "1.0.0", "raise ImportError('libtorch_cuda.so')")
    install(site, "gptqmodel", "5.0.0")
    theirs = tmp_path / "theirs.safetensors"
    unet = learned_unet(tiny_base, LoraOptions(rank=4))
    write_adapter(theirs, adapter_of(unet), "kohya", {})
    options = ("--ckpt_path", str(theirs), "--format", "diffusers")
    done = subprocess.run(
        [sys.executable, "train.py", "export", *options, "--model.base_model", str(tiny_base), "--debug"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Tested theirs_diffusers.safetensors: in a fresh stock pipeline" in done.stdout
    broken = [name for name in broken_packages.OPTIONAL if f"{name} is installed but can't" in done.stderr]
    assert broken == ["torchvision", "xformers", "bitsandbytes", "eetq"]
    tensors = load_file(tmp_path / "theirs_diffusers.safetensors")
    assert all(torch.equal(tensors[f"unet.{name}"], t) for name, t in adapter_of(unet).state.items())
