from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from medfuse.contract import VendoredSource
from medfuse.errors import PluginError
from medfuse.registry.vendoring import (
    check_imports,
    copy_vendored,
    vendored_name,
    vendored_path,
    vendored_source,
    vendored_target,
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write modules of a package `vendpkg`; importing the package itself fails."""
    folder = tmp_path / "vendpkg"
    (folder / "sub").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('must not be imported')\n")
    (folder / "sub" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)

    def write(**sources: str) -> VendoredSource:
        for name, source in sources.items():
            path = folder / (name.replace("__", "/") + ".py")
            path.write_text(textwrap.dedent(source))
        return VendoredSource(modules=tuple(f"vendpkg.{n.replace('__', '.')}" for n in sources))

    return write


@pytest.mark.parametrize(
    ("module", "name"),
    [("pkg.x.y", "pkg_x_y"), ("medfuse.a.b", "a_b"), ("medfuse_timm.net", "medfuse_timm_net")],
)
def test_a_copy_is_named_by_its_module(module: str, name: str) -> None:
    assert vendored_name(module) == name


def test_a_target_names_the_copy() -> None:
    assert vendored_target("medfuse.heads.mlp:MLPHead") == "scripts.heads_mlp.MLPHead"


def test_path_is_found_without_importing_the_package(package) -> None:
    package(net="import torch\n")
    assert vendored_path("vendpkg.net").name == "net.py"
    assert "vendpkg" not in sys.modules


@pytest.mark.parametrize("module", ["vendpkg.nothing", "no_such_package.x", "math", "__main__"])
def test_a_module_without_source_file_is_refused(package, module: str, monkeypatch) -> None:
    package()
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))  # as in a console
    with pytest.raises(PluginError, match=f"module {module}: no Python source file"):
        vendored_path(module)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import numpy\n", "line 1: imports numpy,"),
        ("import os, numpy.linalg\n", r"line 1: imports numpy\.linalg"),
        ("def f():\n    from timm import x\n", r"line 2: imports timm \(x\)"),
        ("from medfuse.errors import PluginError\n", r"imports medfuse\.errors"),
        ("from . import other\n", r"imports vendpkg \(other\)"),
        ("from .other import x\n", r"imports vendpkg\.other"),
        ("from .. import other\n", "line 1: imports"),
        ("import importlib\nm = importlib.import_module('timm')\n", "line 2: imports timm"),
        ("m = __import__(name)\n", "line 1: imports a module whose name is computed"),
        ("try:\n    import timm\nexcept ImportError:\n    timm = None\n", "line 2: imports timm"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\nelse:\n    import b\n",
         "line 5: imports b"),
    ],
)  # fmt: skip
def test_an_undeclared_import_is_refused_with_file_and_line(package, source, found) -> None:
    with pytest.raises(PluginError, match=rf"net\.py, {found}|net\.py, line \d: .*{found}"):
        check_imports(package(net=source))


@pytest.mark.parametrize(
    "source",
    [
        "from __future__ import annotations\nimport os.path, torch.nn as n\nfrom torch import fx\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import timm\n",
        "from .block import A\nfrom vendpkg import block\nfrom vendpkg.block import A as B\n",
    ],
)
def test_declared_and_mutual_imports_pass(package, source: str) -> None:
    check_imports(package(net=source, block="import torch\nA = 1\n"))


def test_medfuse_itself_can_not_be_declared(package) -> None:
    package(net="import medfuse\n")
    export = VendoredSource(modules=("vendpkg.net",), allowed_imports=("torch", "medfuse"))
    with pytest.raises(PluginError, match="allowed_imports names medfuse"):
        check_imports(export)


def test_a_syntax_error_names_file_and_line(package) -> None:
    with pytest.raises(PluginError, match=r"net\.py, line 2"):
        check_imports(package(net="x = 1\ndef :\n"))


def test_a_file_without_mutual_imports_is_copied_byte_for_byte(package) -> None:
    source = "# é \r\nimport torch  # kept\r\n\tx = 'ß'\n".replace("\t", "")
    export = package(net=source)
    vendored_path("vendpkg.net").write_bytes(source.encode())
    assert vendored_source("vendpkg.net", export.modules).encode() == source.encode()


def test_copies_import_each_other(package, tmp_path: Path, monkeypatch) -> None:
    export = package(
        net="""
            'é'; from .sub.block import A, B as b  # comment
            from vendpkg.sub import block
            import vendpkg.sub.block as whole
            def lazy():
                from vendpkg.sub.block import (
                    A,
                    B,
                )
                return A, B
            value = (A, b, block.A, whole.B, lazy())
        """,
        sub__block="A, B = 1, 2\n",
    )
    check_imports(export)
    bundle = tmp_path / "bundle"
    written = copy_vendored(export.modules, bundle / "scripts_of_test")
    assert [p.name for p in written] == ["vendpkg_net.py", "vendpkg_sub_block.py"]
    monkeypatch.syspath_prepend(bundle)
    from scripts_of_test import vendpkg_net

    assert vendpkg_net.value == (1, 2, 1, 2, (1, 2))
    assert "vendpkg" not in sys.modules


def test_an_import_that_can_not_be_renamed_is_refused(package) -> None:
    export = package(net="import vendpkg.block\n", block="")
    with pytest.raises(PluginError, match=r"line 1: import of vendpkg\.block cannot be renamed"):
        vendored_source("vendpkg.net", export.modules)


def test_two_modules_with_one_copy_name_are_refused(package, tmp_path: Path) -> None:
    package(sub__net="", sub_net="")
    with pytest.raises(PluginError, match=r"vendpkg\.sub\.net and vendpkg\.sub_net would both"):
        copy_vendored(["vendpkg.sub.net", "vendpkg.sub_net"], tmp_path / "scripts")
    assert not (tmp_path / "scripts").exists()


def test_a_package_is_copied_whole_and_byte_for_byte(package, tmp_path: Path, monkeypatch) -> None:
    package(
        sub__net="from .deep.block import A\nimport numpy\n",
        user="""
            from vendpkg.sub.net import A
            from vendpkg import sub
            from vendpkg.sub import net
        """,
    )
    deep = vendored_path("vendpkg.sub").parent / "deep"
    deep.mkdir()
    (deep / "__init__.py").write_text("")
    (deep / "block.py").write_bytes(b"A = 7  # \xc3\xa9\n")
    export = VendoredSource(modules=("vendpkg.user", "vendpkg.sub"), allowed_imports=("numpy",))
    check_imports(export)
    copy_vendored(export.modules, tmp_path / "bundle" / "copies_of_test")
    copied = tmp_path / "bundle" / "copies_of_test" / "vendpkg_sub"
    for file in vendored_path("vendpkg.sub").parent.rglob("*.py"):
        inside = file.relative_to(vendored_path("vendpkg.sub").parent)
        assert (copied / inside).read_bytes() == file.read_bytes()
    monkeypatch.syspath_prepend(tmp_path / "bundle")
    from copies_of_test import vendpkg_user

    assert (vendpkg_user.A, vendpkg_user.net.A) == (7, 7)
    assert vendpkg_user.sub.__name__ == "copies_of_test.vendpkg_sub"


@pytest.mark.parametrize(
    "source",
    ["from vendpkg.sub import other\n", "from ..other import x\n", "from .. import other\n"],
)
def test_a_package_reaches_out_of_itself_only_to_what_is_declared(package, source: str) -> None:
    package(sub__net=source, sub__other="", other="x = 1\n")
    with pytest.raises(PluginError, match=r"net\.py, line 1: imports vendpkg.*itself, relatively"):
        check_imports(VendoredSource(modules=("vendpkg.sub", "vendpkg.other")))


@pytest.mark.parametrize("level", [2, 3, 4])
def test_an_import_from_beyond_the_outermost_package_is_refused(package, level: int) -> None:
    export = package(net=f"def late():\n    from {'.' * level}torch import nn\n")
    allowed = VendoredSource(modules=export.modules, allowed_imports=("torch",))
    with pytest.raises(PluginError, match=rf"line 2: imports {'[.]' * level}torch \(nn\), but"):
        check_imports(allowed)


def test_a_module_that_changed_is_read_again(package) -> None:
    export = package(net="import math\n")
    check_imports(export)
    package(net="import numpy\n")
    with pytest.raises(PluginError, match="imports numpy"):
        check_imports(export)
