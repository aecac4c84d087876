"""python -m qsift"""

from .cli import main

main()
