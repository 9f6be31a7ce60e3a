"""A prediction as a DICOM structured report, and ``result.json`` beside it.

This package stands alone, for it is also copied into MONAI Deploy applications: its modules import
highdicom, pydicom, the standard library and each other relatively, and nothing else of medfuse.
"""
