"""Do the node tests that the onnx package ships pass, within the limits that the page lists?"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "results" / "onnx-backend.md"


def backend() -> ModuleType:
    """bench/onnx_backend.py."""
    spec = importlib.util.spec_from_file_location("onnx_backend", ROOT / "bench/onnx_backend.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")  # of onnx's own test data
def test_node_tests_pass_and_the_page_says_which() -> None:
    module = backend()
    outcomes = [module.run(case) for case in module.node_tests()]
    assert not [o.name for o in outcomes if o.difference]
    assert len([o for o in outcomes if not o.left_out]) > 90
    assert module.markdown(outcomes) == PAGE.read_text()
