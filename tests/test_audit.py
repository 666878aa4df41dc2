"""The audit of dependencies: what it says of pip-audit's answers, and that none is not taken for a good one."""

import importlib.util
import json

import pytest
from conftest import ROOT

spec = importlib.util.spec_from_file_location("audit", ROOT / "tools" / "audit.py")
audit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit)

SOUND = {"name": "numpy", "version": "2.4.0", "vulns": []}
WEAK = {"name": "a", "version": "1", "vulns": [{"id": "P-1", "fix_versions": ["2"]}, {"id": "X", "fix_versions": []}]}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.15.0)"}


@pytest.mark.parametrize(
    ("packages", "code", "last"),
    [
        ([SOUND], 0, "audit: 0 known vulnerabilities in 1 packages"),
        ([SOUND, WEAK], 1, "audit: 2 known vulnerabilities in 2 packages"),
        ([SOUND, SKIPPED], 3, "audit: 0 known vulnerabilities in 1 packages; not looked up: torch"),
        ([WEAK, SKIPPED], 1, "audit: 2 known vulnerabilities in 1 packages; not looked up: torch"),
        ([SKIPPED], 4, "audit: no package could be looked up: nothing is known of any (is PyPI itself within reach?)"),
        ([], 4, "audit: no package could be looked up: nothing is known of any (is PyPI itself within reach?)"),
    ],
)
def test_each_answer_has_its_line_and_exit_code(packages, code, last):
    lines, found = audit.found(json.dumps({"dependencies": packages, "fixes": []}))
    assert (lines[-1], found) == (last, code)
    assert len(lines) == 1 + 2 * (WEAK in packages)


@pytest.mark.parametrize("answer", ["", "Traceback …", "[]", "{}", "null"])
def test_no_answer_is_no_good_one(answer):
    assert audit.found(answer)[1] == 4
