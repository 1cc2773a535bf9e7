"""`python -m sta_tsn VERB ...`"""

import sys

from sta_tsn.cli import main

if __name__ == "__main__":
    sys.exit(main())
