"""The MONAI Deploy application that ``medfuse bundle export --for deploy`` copies.

It stands alone: it runs where MONAI Deploy is installed and medfuse is not. So its modules import
MONAI, MONAI Deploy and each other, and nothing else of medfuse; `medfuse.bundle.dicom_report`,
which stands alone as well, is copied beside them as ``lib.dicom_report``.
"""
