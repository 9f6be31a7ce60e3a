"""Train medical image classifiers from several pretrained networks at once."""
