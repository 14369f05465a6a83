"""Keras callbacks for adversarial training, one a file."""
