"""`Client`: what drivers of the earlier platform import."""

from maniple.driver.earlier import EarlierClient as Client

__all__ = ["Client"]
