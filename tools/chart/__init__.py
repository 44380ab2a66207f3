"""Checks the chart with helm and kubeconform, and by rules of our own; see ``__main__``."""
