"""2D and 3D backbones of MONAI for medfuse."""
