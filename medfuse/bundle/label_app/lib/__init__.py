"""Serves and fine-tunes the one bundle in ``model/``.

``labels``, ``answers`` and ``served_bundle`` say what holds; ``infer``, ``train``, ``studies`` and
``app`` tie it to MONAI Label.
"""
