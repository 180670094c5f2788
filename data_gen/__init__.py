"""Scenes to train on: `multi_mnist`, `multi_dsprites` generate them, `user_scenes` loads yours."""
