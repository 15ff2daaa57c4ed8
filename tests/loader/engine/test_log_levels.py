"""How important a message is: as in the kernel's source, for each that booted kernels have said."""

from __future__ import annotations

import pytest

from loader.engine.log_levels import ERR, INFO, NOTICE, WARNING, level_of


@pytest.mark.parametrize(
    ("text", "level"),
    [
        # pr_err
        ("Invalid ELF header len 0", ERR),
        ("m: version magic '6.1 ' should be '6.12 '", ERR),
        ("m: exports duplicate symbol give (owned by a)", ERR),
        ("m: `x' invalid for parameter `n'", ERR),
        ("Module m is blacklisted", ERR),
        # pr_warn
        ("m: Unknown symbol x (err -2)", WARNING),
        ("m: unknown parameter 'x' ignored", WARNING),
        ("m: loading out-of-tree module taints kernel.", WARNING),
        ("m: module license 'Proprietary' taints kernel.", WARNING),
        ("m: gave up waiting for init of module b.", WARNING),
        ("do_init_module: 'm'->init suspiciously returned 7, it should follow 0/-E convention\n"
         "do_init_module: loading module anyway...", WARNING),
        ("request_module fs-x succeeded, but still no fs?", WARNING),
        # pr_notice
        ("m: module verification failed: signature and/or required key missing"
         " - tainting kernel", NOTICE),
        ("Loading of unsigned module is rejected", NOTICE),
        ("misc test_kmod0: interface ready", INFO),
    ],
)  # fmt: skip
def test_levels(text: str, level: int) -> None:
    assert level_of(text) == level


def test_names_do_not_matter() -> None:
    for name in ("a", "Unknown_symbol", "x" * 55, ".*"):
        assert level_of(f"{name}: Unknown symbol {name} (err -22)") == WARNING
        assert level_of(f"{name}: no flags for exported symbols") == ERR
