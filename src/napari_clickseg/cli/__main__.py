"""Run the command line with ``python -m napari_clickseg.cli``."""

from napari_clickseg.cli.main import main

if __name__ == "__main__":
    main()
