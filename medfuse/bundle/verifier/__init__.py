"""The program that checks a bundle, where medfuse cannot be imported: it stands alone.

`medfuse.bundle.verify` starts it in a process of its own, as a package of another name. So its
modules import each other relatively, and nothing else of medfuse.
"""
