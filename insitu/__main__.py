"""`python -m insitu` is the command `insitu`."""

from insitu.app.cli import main

if __name__ == "__main__":
    main()
