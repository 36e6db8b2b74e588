"""The commands of manage.py and fission_admin.py."""

import sys

from maniple.network.marvelo.manage import admin, main

__all__ = ["main", "startproject"]


def startproject() -> None:
    """`fission_admin.py PROJECT startproject`."""
    sys.exit(admin(sys.argv[1:]))
