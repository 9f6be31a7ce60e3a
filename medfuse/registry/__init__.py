"""Find: installed plugins -> the components they describe, by name. Imports no torch.

`load_registry` finds the plugins, `Registry` resolves names, `parse_source` reads the text of
``use:``, `load_factory` imports what a spec names, and `vendoring` copies sources into bundles.
"""
