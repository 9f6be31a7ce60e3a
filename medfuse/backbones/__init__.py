"""Extract: a canonical image -> the features of one pretrained network.

`build_source` turns a configured source into a `BuiltSource`: an `Adapter` (resize, channels, mean
and std), a backbone with checked weights, perhaps a `CutBackbone`, and the pooling of a `Source`.
"""
