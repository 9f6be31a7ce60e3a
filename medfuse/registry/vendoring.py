"""Copy a component's source files into a folder that works without medfuse or the plugin.

One rule names the copies: module ``pkg.x.y`` becomes ``scripts/pkg_x_y.py``, and medfuse's own
``medfuse.a.b`` becomes ``scripts/a_b.py``. Imports between copied modules are rewritten to follow;
every other import must be declared. A file without such imports is copied byte for byte.

A package is copied whole, byte for byte, as a folder under the same name: its modules may import
one another only relatively, and nothing else but the standard library and what is declared.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from medfuse.contract import VendoredSource
from medfuse.errors import PluginError
from medfuse.storage import write_text

SCRIPTS = "scripts"
_NEVER_IN_A_BUNDLE = "medfuse"


def vendored_name(module: str) -> str:
    """Return the name of a module's copy inside ``scripts``: ``pkg.x.y`` gives ``pkg_x_y``."""
    return module.removeprefix("medfuse.").replace(".", "_")


def vendored_target(factory: str) -> str:
    """Return where the copy of ``pkg.x.y:attribute`` is: ``scripts.pkg_x_y.attribute``."""
    module, _, attribute = factory.partition(":")
    return f"{SCRIPTS}.{vendored_name(module)}.{attribute}"


def vendored_path(module: str) -> Path:
    """Return the source file of a module, found without importing it or its packages.

    Raises:
        PluginError: there is no such module, or it is not a Python source file.
    """
    spec = _find(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise PluginError(
            f"module {module}: no Python source file found, so it cannot be copied into a bundle. "
            "Name importable .py modules in VendoredSource(modules=...)."
        )
    return Path(spec.origin)


def vendored_source(module: str, modules: Iterable[str]) -> str:
    """Return the text of a module's copy: imports of the other ``modules`` name their copies.

    Raises:
        PluginError: the file cannot be parsed, or imports a copied module as ``import a.b``,
            which cannot be renamed.
    """
    known = frozenset(modules)
    text, imports = _read_imports(module)
    changes = [
        (found.statement, renamed)
        for found in imports
        if (renamed := _renamed(found, known, module))
    ]
    return _spliced(text, dict.fromkeys(changes))


def copy_vendored(modules: Sequence[str], folder: Path) -> list[Path]:
    """Write the copies of ``modules`` into ``folder`` (made a package) and return their paths.

    Raises:
        PluginError: two modules would share a file, or `vendored_source` refuses one.
    """
    owners: dict[str, str] = {}
    for module in modules:
        first = owners.setdefault(vendored_name(module), module)
        if first != module:
            raise PluginError(
                f"modules {first} and {module} would both become {vendored_name(module)}.py "
                "in the bundle. Rename one."
            )
    texts: dict[Path, str] = {}
    for name, module in owners.items():
        if is_package(module):
            files = package_files(module).items()
            texts |= {folder / name / place: file.read_bytes().decode() for place, file in files}
        else:
            texts[folder / f"{name}.py"] = vendored_source(module, modules)
    if not (folder / "__init__.py").exists():
        write_text(
            folder / "__init__.py", '"""Code that this bundle\'s network is built from."""\n'
        )
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)


def is_package(module: str) -> bool:
    """Return whether a name is that of a package, found without importing it."""
    return vendored_path(module).name == "__init__.py"


def package_files(package: str) -> dict[str, Path]:
    """Return the Python files of a package by their path inside it, sorted."""
    root = vendored_path(package).parent
    return {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*.py"))}


def check_imports(export: VendoredSource) -> None:
    """Pass if the modules import only the standard library, each other and what is declared.

    Imports inside functions, relative imports and ``importlib.import_module`` count too; those
    under ``if TYPE_CHECKING:`` do not.

    Raises:
        PluginError: naming file, line and import.
    """
    if _NEVER_IN_A_BUNDLE in export.allowed_imports:
        raise PluginError(
            f"modules {', '.join(export.modules)}: allowed_imports names medfuse, "
            "which is not there when a bundle runs. Remove it."
        )
    allowed = {*sys.stdlib_module_names, *export.allowed_imports}
    for module in export.modules:
        for path, found in _all_imports(module):
            package = is_package(module)
            known = _own_relative(found, module) if package else found.within(export.modules)
            if not known and found.top not in allowed:
                raise PluginError(
                    f"{path}, line {found.statement.lineno}: imports "
                    f"{found.shown}, but a vendored {'package' if package else 'module'} may "
                    f"import only {', '.join(export.allowed_imports) or 'nothing'}, the standard "
                    f"library and {'itself, relatively' if package else 'the other modules'}. "
                    "Declare it in allowed_imports (with requires), or add the module to modules."
                )


@dataclass(frozen=True)
class _Import:
    """One imported module, absolute: ``from module import name`` or ``import module``."""

    statement: ast.stmt | ast.Call
    module: str
    name: str | None = None

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    @property
    def shown(self) -> str:
        return f"{self.module} ({self.name})" if self.name else self.module

    def within(self, modules: Iterable[str]) -> bool:
        """Return whether it names one of the modules, or something inside a package of them."""
        return self.owner(modules) is not None

    def owner(self, modules: Iterable[str]) -> str | None:
        """Return the module or package that it names or lies in."""
        known = frozenset(modules)
        whole = f"{self.module}.{self.name}"
        parts = self.module.split(".")
        outer = (".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1))
        packages = (name for name in outer if name in known and is_package(name))
        named = next((name for name in (whole, self.module) if name in known), None)
        return named or next(packages, None)


def _find(module: str) -> ModuleSpec | None:
    top, *rest = module.split(".")
    try:
        spec = find_spec(top)
    except ValueError:  # __main__ has no spec
        return None
    name = top
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    return spec


def _read_imports(module: str) -> tuple[str, tuple[_Import, ...]]:
    """Return the text of a module and what it imports."""
    path = vendored_path(module)
    text = path.read_bytes().decode("utf-8")
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    try:
        return text, _imports_of(text, package)
    except SyntaxError as error:
        raise PluginError(f"{path}, line {error.lineno}: {error.msg}.") from error


@lru_cache(maxsize=512)  # a bundle reads each module twice, and one process may write many
def _imports_of(text: str, package: str) -> tuple[_Import, ...]:
    return tuple(_imports(ast.parse(text), package))


def _imports(tree: ast.AST, package: str) -> Iterator[_Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            for otherwise in node.orelse:
                yield from _imports(ast.Module([otherwise], []), package)
            continue
        if isinstance(node, ast.Import):
            yield from (_Import(node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _absolute(node, package)
            yield from (_Import(node, origin, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and _is_dynamic_import(node):
            yield _dynamic(node)
        yield from _imports(node, package)


def _all_imports(module: str) -> Iterator[tuple[Path, _Import]]:
    """Yield the imports of a module, or of every file of a package, with the file."""
    if not is_package(module):
        yield from ((vendored_path(module), found) for found in _read_imports(module)[1])
        return
    for inside, path in package_files(module).items():
        name = f"{module}.{inside.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__")
        yield from ((path, found) for found in _read_imports(name)[1])


def _own_relative(found: _Import, package: str) -> bool:
    relative = isinstance(found.statement, ast.ImportFrom) and found.statement.level > 0
    return relative and f"{found.module}.".startswith(f"{package}.")


def _is_type_checking(test: ast.expr) -> bool:
    return _dotted(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _is_dynamic_import(node: ast.Call) -> bool:
    return _dotted(node.func) in ("importlib.import_module", "import_module", "__import__")


def _dotted(expression: ast.expr) -> str:
    """Return ``name`` or ``name.attribute``, of another expression nothing."""
    if isinstance(expression, ast.Name):
        return expression.id
    if isinstance(expression, ast.Attribute) and isinstance(expression.value, ast.Name):
        return f"{expression.value.id}.{expression.attr}"
    return ""


def _dynamic(node: ast.Call) -> _Import:
    first = node.args[0] if node.args else None
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        return _Import(node, first.value)
    return _Import(node, "a module whose name is computed")


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    if node.level > len(parts):
        return f"{'.' * node.level}{node.module or ''}"  # beyond the top: it names no module
    kept = parts[: len(parts) - node.level + 1]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _renamed(found: _Import, modules: frozenset[str], module: str) -> str | None:
    """Return the new text of an import statement, or ``None`` if it stays as it is."""
    statement = found.statement
    if not found.within(modules):
        return None
    if isinstance(statement, ast.ImportFrom):
        return "; ".join(
            _from_copy(_Import(statement, found.module, alias.name), alias.asname, modules)
            for alias in statement.names
        )
    alias = statement.names[0] if isinstance(statement, ast.Import) else None
    if alias is None or alias.asname is None or len(getattr(statement, "names", ())) > 1:
        raise PluginError(
            f"{vendored_path(module)}, line {statement.lineno}: import of {found.module} cannot be "
            "renamed for the bundle. Write 'from ... import ...', one statement for each module."
        )
    return f"from . import {vendored_name(found.module)} as {alias.asname}"


def _from_copy(found: _Import, asname: str | None, modules: frozenset[str]) -> str:
    as_part = f" as {asname}" if asname else ""
    whole = f"{found.module}.{found.name}"
    owner = found.owner(modules) or found.module
    if whole == owner:
        return f"from . import {vendored_name(whole)} as {asname or found.name}"
    inside = found.module.removeprefix(owner)
    return f"from .{vendored_name(owner)}{inside} import {found.name}{as_part}"


def _spliced(text: str, changes: Iterable[tuple[ast.stmt | ast.Call, str]]) -> str:
    """Replace whole statements; offsets are those of ast, in UTF-8 bytes of the line."""
    lines = text.encode("utf-8").splitlines(keepends=True)
    for node, renamed in sorted(changes, key=lambda change: -change[0].lineno):
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        before, after = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
        lines[first : last + 1] = [before + renamed.encode() + after]
    return b"".join(lines).decode("utf-8")
