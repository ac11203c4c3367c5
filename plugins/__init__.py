"""Vendors and formats, reached by entry-point name; `registry` finds them."""
