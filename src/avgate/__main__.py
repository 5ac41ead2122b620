"""`python -m avgate` is `avgate`."""

from avgate.cli import main

if __name__ == "__main__":
    main()
