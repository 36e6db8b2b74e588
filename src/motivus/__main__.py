"""`python -m motivus`."""

from motivus.command import main

if __name__ == "__main__":
    main()
