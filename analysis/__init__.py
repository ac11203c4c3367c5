"""Kernels, routers and figures; import the module that you need."""
