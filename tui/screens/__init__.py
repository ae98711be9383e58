"""The screens: the explorer, and those that lie over it."""
