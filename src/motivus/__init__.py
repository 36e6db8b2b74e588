"""The interface of the earlier platform: names only; what they do is in `maniple`."""
