"""Read DICOM: a series becomes a volume in mm, a projection a picture, or a code says why not.

`scan.list_series` says what lies in a folder, `read.read_dicom` reads one series, and
`sandbox.SandboxedReader` does both in a process that can be killed. The folder needs numpy and
pydicom (2.4 to 3.x) and nothing of medfuse: it is copied byte for byte into every bundle, so that
training and serving read alike.
"""
