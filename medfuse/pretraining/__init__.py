"""Pretrain: images, with or without labels -> weights of a backbone.

`PretrainingSettings` says how. A `Pool` gives images, `ViewBatches` random views of them,
`build_learner` the network with what its method adds (`simclr`, `mae`, `supervised`),
`Pretraining` the training in progress, `health` what the features are like.
"""
