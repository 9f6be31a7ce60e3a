"""Extract: canonical images -> features per source, each computed once and kept in the bank.

``FeatureBank`` holds a ``RecipeStore`` per source, with rows by ``BankKey``; ``ImageIndex`` gives
``ImageFacts`` and decodes a file once; ``extract_features`` turns an ``ExtractionRequest`` into
``Features``. Only ``extract``, ``engine``, ``ledger``, ``plan`` and ``request`` import torch.
"""
