"""`python -m deepfake`."""

from deepfake.cli import main

main()
