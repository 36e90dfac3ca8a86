"""Imports: in the order of ARCHITECTURE.md, torch and pyrtl apart, and none of them before it is needed."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "hwsim").rglob("*.py"))
}


def imports(module):
    """Every module that a module's lines import, wherever they stand."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            yield from (
                f"{node.module}.{n.name}" if node.module == "hwsim" else node.module for n in node.names
            )


def layer(module):
    """The part of the package that a module belongs to: its second name."""
    return module.split(".")[1]


def order():
    """The line of ARCHITECTURE.md's table that each part stands on."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    table = text.partition("## Modules, in import order")[2].partition("\n## ")[0]
    lines = [
        re.findall(r"`(\w+)/?`", row.split("|")[1]) for row in table.splitlines() if row.startswith("| `")
    ]
    return {name: number for number, names in enumerate(lines) for name in names}


def test_the_table_of_modules_holds_every_module():
    assert set(order()) == {layer(module) for module in MODULES if module != "hwsim"}


@pytest.mark.parametrize("module", [module for module in MODULES if module != "hwsim"])
def test_a_module_imports_only_from_its_line_and_those_above(module):
    lines = order()
    below = {
        name
        for name in imports(module)
        if name.startswith("hwsim.") and lines[layer(name)] > lines[layer(module)]
    }
    assert not below


@pytest.mark.parametrize(
    ("package", "homes"),
    [
        ("torch", {"models", "quantize", "reproduce"}),
        ("onnx", {"models", "bundle"}),
        ("PIL", {"data"}),
        ("pyrtl", {"datapath", "simulate", "cost"}),
        ("pyosys", {"cost"}),
        ("moocore", {"explore", "report"}),
        ("matplotlib", {"report", "reproduce"}),
        ("jinja2", {"report"}),
        ("typer", {"cli"}),
        ("sqlite3", {"explore"}),
        ("distributed", {"explore"}),
    ],
)
def test_a_package_is_imported_in_its_home_only(package, homes):
    users = {
        layer(m) for m in MODULES if m != "hwsim" for name in imports(m) if name.split(".")[0] == package
    }
    assert users <= homes


@pytest.mark.parametrize("package", ["pickle", "dill", "joblib", "shelve", "marshal", "yaml"])
def test_nothing_imports_a_reader_that_executes_what_it_reads(package):
    assert not [m for m in MODULES for name in imports(m) if name.split(".")[0] == package]


def loaded(statement):
    """The packages in sys.modules after a statement in a process of its own."""
    script = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


HELP = "import sys\nsys.argv = ['hwsim', {!r}]\nfrom hwsim.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import hwsim", {"torch", "pyrtl", "numpy", "typer"}),
        (HELP.format("--help"), {"torch", "pyrtl", "numpy", "pydantic_core.core_schema", "rich"}),
        ("import hwsim.quantize.settings", {"torch", "pyrtl"}),
        ("import hwsim.quantize", {"pyrtl"}),
        ("import hwsim.models.onnx, hwsim.models.resnet", {"torch", "pyrtl"}),
        ("import hwsim.datapath, hwsim.simulate.check, hwsim.simulate.replay", {"torch"}),
        ("import hwsim.cost.hardware, hwsim.cost.compression, hwsim.cost.traffic", {"torch", "pyosys"}),
        ("import hwsim.report", {"torch"}),
        ("import hwsim.explore.worker", {"torch"}),
        ("import hwsim.explore.cluster", {"torch", "dask", "distributed"}),
        ("import hwsim.explore.study", {"torch"}),
    ],
    ids=[
        "hwsim",
        "--help",
        "settings",
        "quantize",
        "onnx",
        "simulate",
        "cost",
        "report",
        "worker",
        "cluster",
        "study",
    ],
)
def test_an_import_loads_no_more_than_it_needs(statement, absent):
    assert not loaded(statement) & absent


def test_every_public_name_can_be_imported_and_is_documented():
    import hwsim

    for name in hwsim.__all__:
        assert (getattr(hwsim, name).__doc__ or "").strip(), name
    with pytest.raises(AttributeError):
        hwsim.no_such_name  # noqa: B018
