"""Export: a bundle -> a folder that another program serves it from.

`KINDS` names the programs; each has a module here that fills the folder. Plugins bring others.
"""

from medfuse.bundle.export.kinds import KINDS, Exported, ExportKind, export_bundle

__all__ = ["KINDS", "ExportKind", "Exported", "export_bundle"]
